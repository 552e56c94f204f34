"""Training the classifier: data, the four-step loop, calibration, evaluation. Needs torch."""
