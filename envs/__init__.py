"""Batches of environments that return `dm_env.TimeStep`."""
