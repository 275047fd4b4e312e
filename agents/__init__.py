"""The actor-learner architecture: one module per box of the picture."""
