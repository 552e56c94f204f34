"""`guard bench`: what the guard costs on this machine. Machines are noisy: read the ratios."""
