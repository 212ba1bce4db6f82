"""Training data to checkpoint."""
