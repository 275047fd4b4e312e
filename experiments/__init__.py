"""The top: flags, wiring, logging."""
