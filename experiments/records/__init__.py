"""The files that a run writes into its log directory."""
