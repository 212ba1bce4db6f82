"""Checkpoint and text to text: export, translate."""
