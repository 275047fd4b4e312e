"""Adapts functions that are given the end of every episode, not just rows.

In some libraries a step comes with the value of the observation after it and a
flag that its episode ended. There is no row for the reset: a truncated episode
is bootstrapped from the value of its own last observation.
"""

from collections.abc import Callable
from typing import Any

import numpy as np


def from_transitions(fn: Callable[..., Any]) -> Callable[..., Any]:
  """Returns a function of rows, as `check` calls it, from one of transitions.

  A row whose weight is zero in the whole batch is taken for the reset after an
  episode. It is removed, and the row before it is the last of an episode. So
  what `fn` does with a weight of zero is seen where only a part of the batch
  has one.

  Args:
    fn: is called with the NumPy arrays `log_rhos, discounts, rewards, values,
      next_values, dones`, all `[T, ...]`, and the keywords. `next_values` are
      the values of the observations after the steps, and `dones` (bool) says
      which steps are the last of their episode. If such a step has a discount
      of 0, the episode terminated; otherwise it was truncated. `fn` returns
      (vs, pg_advantages) as NumPy arrays.
  """

  def rows(log_rhos, discounts, rewards, values, bootstrap_value, **keywords):
    resets = np.isneginf(log_rhos).reshape(len(log_rhos), -1).all(axis=1)
    vs, pg_advantages = np.array(values), np.zeros_like(values)
    next_values = np.concatenate([values[1:], bootstrap_value[None]])
    before_reset = np.append(resets[1:], False)
    dones = (discounts == 0) | before_reset.reshape(
      -1, *[1] * (values.ndim - 1)
    )
    inputs = log_rhos, discounts, rewards, values, next_values, dones
    kept = ~resets
    if np.any(kept):
      found = fn(*(x[kept] for x in inputs), **keywords)
      vs[kept], pg_advantages[kept] = found
    return vs, pg_advantages

  return rows
