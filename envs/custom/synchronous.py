"""Copies of an environment that step one after the other, in one thread."""

from collections.abc import Sequence
import contextlib
from typing import Any

import gymnasium
import numpy as np

from envs.custom import adapter


class Synchronous:
  """Gymnasium's `SyncVectorEnv` of adapted environments."""

  def __init__(self, recipe: adapter.Recipe, first: Any, seeds: Sequence[int]):
    """Makes all copies but the first, which is given.

    Raises:
      FactoryError: if a copy cannot be made or differs from the first.
    """
    with contextlib.ExitStack() as stack:  # Closes them if one fails.
      self.adapters = [adapter.Adapter(first, recipe, 0, seeds[0])]
      stack.callback(self.adapters[0].close)
      self.declared = self.adapters[0].declared
      for i, seed in enumerate(seeds[1:], 1):
        self.adapters.append(adapter.make(recipe, i, seed))
        stack.callback(self.adapters[i].close)
        adapter.check_agree(
          recipe.name, self.adapters[i].declared, self.declared, i
        )
      self._vector = gymnasium.vector.SyncVectorEnv(
        [lambda each=each: each for each in self.adapters],
        autoreset_mode=gymnasium.vector.AutoresetMode.NEXT_STEP,
      )
      stack.pop_all()
    self.reset = self._vector.reset

  def step(self, actions: np.ndarray) -> Any:
    """Steps all environments."""
    return self._vector.step(actions)

  def render(self, index: int) -> np.ndarray:
    """Returns the image of an environment."""
    return self.adapters[index].render()

  def late(self) -> list[int]:
    """Returns the indices of the environments that do not answer."""
    return [each.index for each in self.adapters if each.busy]

  def close(self) -> None:
    """Closes all environments."""
    for each in self.adapters:
      each.close()

  def kill(self) -> None:
    """Does nothing: a thread cannot be killed."""
