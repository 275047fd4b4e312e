"""Notebooks, and what builds them from the readable sources in `src`."""
