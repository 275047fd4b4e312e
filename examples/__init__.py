"""Examples to read and copy; docs/index.md shows how to run them."""
