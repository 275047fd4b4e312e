"""Comparisons over many runs, and exact studies on small MDPs."""
