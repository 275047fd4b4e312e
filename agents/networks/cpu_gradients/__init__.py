"""Convolution and max-pooling with gradients that are fast on CPU.

XLA's CPU backend computes the gradients of a convolution and of max-pooling
several times slower than their values. The modules here compute the same values
and the same gradients as Haiku's layers; only on CPU is the backward pass
written with operations that are fast there. On every other platform XLA's own
gradients are used. The update of the shallow torso is 6.8 times as fast, that
of the deep torso 4.1 times (`benchmarks/learner_update.py`). `hk.Conv2D`, and a
function that calls `hk.max_pool`, can be passed to the torsos instead.
"""
