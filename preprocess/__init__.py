"""Text to training data: fetch, inspect, clean, subword, binarise."""
