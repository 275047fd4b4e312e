"""Comparisons over many runs, and exact computations on small MDPs."""
