"""Building and running a training run."""
