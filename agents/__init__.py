"""The actor-learner architecture: one module per component."""
