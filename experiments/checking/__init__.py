"""The pipeline check: what the learner received against what happened."""
