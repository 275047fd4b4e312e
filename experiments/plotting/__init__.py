"""Figures of recorded runs: learning curves and diagnostics."""
