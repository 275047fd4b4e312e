"""Measuring where the time of a training run goes."""
