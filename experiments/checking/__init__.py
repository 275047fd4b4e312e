"""The pipeline check: compares learner inputs with recorded env steps."""
