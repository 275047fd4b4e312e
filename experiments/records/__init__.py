"""What a run writes into its log directory."""
