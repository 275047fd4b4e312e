"""The profiler: where the time of a training run goes."""
