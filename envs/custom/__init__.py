"""What `vectorized` is made of: one custom environment, and batches of it."""
