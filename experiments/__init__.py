"""The top layer: commands, flags, logging, and the setup of runs."""
