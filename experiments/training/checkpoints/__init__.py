"""Checkpoints: their format, and when they are written."""
