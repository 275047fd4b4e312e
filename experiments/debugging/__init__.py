"""Tools that find the cause of a non-finite update."""
