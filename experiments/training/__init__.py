"""Construction and execution of a training run."""
