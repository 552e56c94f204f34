"""`guard serve`: the scoring API and a gateway in front of an LLM."""
