"""The properties of V-trace; `table` lists them all."""
