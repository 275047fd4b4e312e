"""Finding the cause of a non-finite update."""
