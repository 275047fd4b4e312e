"""The environments: in batches that speak `dm_env.TimeStep`."""
