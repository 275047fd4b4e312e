"""The worlds: batches of environments that speak `dm_env.TimeStep`."""
