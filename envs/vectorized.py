"""Batches of a user's own environments, Gymnasium's or dm_env's.

A factory makes one environment (see `factories` for its name). It gets, if it
takes them: `seed`, different for each environment; `render_mode='rgb_array'` if
images are needed; `num_envs`, if it makes a `gymnasium.vector.VectorEnv`. Also
the arguments of --env_kwargs. Gymnasium environments are also seeded at their
first reset.

An environment may have the attributes `frames_per_step`, its action repeats,
and `num_stacked`, the number of latest observations that an agent should see.

The environments are made, stepped and closed in one thread, by Gymnasium's
vector classes.
"""

from collections.abc import Callable
import math
import time
from typing import Any

from absl import logging
import dm_env
import gymnasium
import numpy as np

from envs import environment
from envs import factories
from envs.custom import adapter
from envs.custom import asynchronous
from envs.custom import given
from envs.custom import leaves
from envs.custom import one_thread
from envs.custom import synchronous

CLOSE_SECONDS = 5.0


class Vectorized:
  """A batch of a user's environment; an `environment.Environment`."""

  def __init__(
    self,
    name: str,
    num_envs: int,
    seed: int,
    *,
    factory: Callable[..., Any] | None = None,
    kwargs: dict[str, Any] | None = None,
    renders: bool = False,
    processes: bool = False,
    records: bool = False,
    timeout_seconds: float = math.inf,
  ):
    """Makes `num_envs` environments; environment i gets seed `seed` + i.

    Args:
      name: 'module:factory', or any name if `factory` is given.
      num_envs: number of environments.
      seed: seed of all randomness, if the environments use it.
      factory: makes an environment; by default found by `name`.
      kwargs: further arguments of the factory.
      renders: whether `render` will be called.
      processes: whether each environment gets a process.
      records: whether `checksums` are kept.
      timeout_seconds: deadline for making the environments; half of it for one
        step, so that whoever waits for the actor learns which one is late.

    Raises:
      FactoryError: if the factory does not exist, cannot be called, or does not
        make a supported environment.
    """
    self.name, self.num_envs = name, num_envs
    self.checksums: np.ndarray | None = None  # Of the latest raw observations.
    self._make_seconds = _finite(timeout_seconds)
    self._step_seconds = _finite(timeout_seconds / 2)
    self._over = np.ones([num_envs], bool)
    self._closed = False
    # Of a call in `run`: when it is late, after how many seconds, what it did.
    self._deadline: tuple[float, float, str] | None = None
    recipe = adapter.Recipe(
      name,
      factory,
      kwargs or {},
      {'render_mode': 'rgb_array'} if renders else {},
      records,
    )
    seeds = [seed + i for i in range(num_envs)]
    self._thread = one_thread.OneThread(name)
    self._envs = None
    make = self._make_processes if processes else self._make
    try:
      self._call(
        make, recipe, seeds, seconds=self._make_seconds, what='was not made'
      )
    except BaseException:
      if self._envs is not None:
        self._envs.kill()
      raise
    declared = self._envs.declared
    self._specs = leaves.specs(declared.observation)
    self.frames_per_step = declared.frames_per_step
    self.num_stacked = declared.num_stacked
    factory = factory or factories.find(name)
    if not declared.takes_seed and not factories.accepts(factory, 'seed'):
      factories.warn_unseeded(name)

  def observation_spec(self) -> Any:
    """Returns the spec of one observation, or a plain dict of specs."""
    return self._specs

  def action_spec(self) -> dm_env.specs.Array:
    """Returns the spec of one action; discrete actions start at 0."""
    return self._envs.declared.action.spec

  def reset(self) -> dm_env.TimeStep:
    """Starts an episode in every environment."""
    return self._call(
      self._reset, seconds=self._step_seconds, what='did not reset'
    )

  def step(self, actions: np.ndarray) -> dm_env.TimeStep:
    """Steps every environment; resets it instead if its episode is over."""
    return self._call(
      self._step, actions, seconds=self._step_seconds, what='did not step'
    )

  def run(self, function: Callable[[], Any]) -> Any:
    """Calls a function that steps the environments, in their own thread.

    Otherwise each step is handed over to that thread, which takes a while.

    Raises:
      FactoryError: if environments do not answer in time.
    """
    return self._thread.run(function, self._raise_if_late)

  def get_state(self) -> None:
    """Returns None: few environments can return their state."""

  def set_state(self, state: Any) -> None:
    """Raises NotImplementedError: there is no state to restore."""
    raise NotImplementedError(
      f'{self.name}: the state of a custom environment cannot be restored.'
    )

  def render(self, index: int) -> np.ndarray:
    """Returns the image that environment `index` renders, mostly `[H, W, 3]`.

    Raises:
      FactoryError: if the environment renders no image.
    """
    return self._call(
      self._envs.render,
      index,
      seconds=self._step_seconds,
      what='did not render',
    )

  def close(self) -> None:
    """Closes every environment; logs those that fail or hang."""
    if self._closed:
      return
    self._closed = True
    try:
      self._thread.call(self._envs.close, timeout_seconds=CLOSE_SECONDS)
    except TimeoutError:
      logging.error(
        'Closing %s takes more than %g s: it is given up.',
        self.name,
        CLOSE_SECONDS,
      )
      self._envs.kill()
    except Exception as error:  # Results must not be lost.
      logging.error('Closing %s failed: %r', self.name, error)
      self._envs.kill()

  def _make(self, recipe: adapter.Recipe, seeds: list[int]) -> None:
    """Makes the environments in this process."""
    first = adapter.make_env(recipe, seeds[0], **self._batch_size(recipe))
    if isinstance(first, gymnasium.vector.VectorEnv):
      self._envs = given.Given(recipe, first, self.num_envs, seeds[0])
    else:
      self._envs = synchronous.Synchronous(recipe, first, seeds)

  def _make_processes(self, recipe: adapter.Recipe, seeds: list[int]) -> None:
    """Makes the environments in a process each."""
    factory = recipe.factory or factories.find(recipe.name)
    self._envs = asynchronous.Asynchronous(
      recipe,
      seeds,
      unseeded=not factories.requires(factory, 'seed'),
      make_seconds=self._make_seconds,
      step_seconds=self._step_seconds,
    )
    self._envs.start()

  def _batch_size(self, recipe: adapter.Recipe) -> dict[str, int]:
    factory = recipe.factory or factories.find(recipe.name)
    named = factories.accepts(factory, 'num_envs', by_name=True)
    return {'num_envs': self.num_envs} if named else {}

  def _reset(self) -> dm_env.TimeStep:
    observation, infos = self._envs.reset()
    nothing = np.zeros([self.num_envs])
    self._over[:] = True
    return self._time_step(observation, nothing, nothing, nothing, infos)

  def _step(self, actions: np.ndarray) -> dm_env.TimeStep:
    return self._time_step(*self._envs.step(actions))

  def _time_step(
    self, observation: Any, reward: Any, terminated: Any, truncated: Any, infos
  ) -> dm_env.TimeStep:
    outcome = environment.Outcome(
      self._over,
      reward,
      np.asarray(terminated, bool),
      np.asarray(truncated, bool),
    )
    self.checksums = infos.get('checksum')
    timestep = environment.time_step(outcome, observation, self.name)
    self._over = outcome.terminated | outcome.truncated
    if 'discount' in infos:  # Neither 0 nor 1.
      timestep.discount[:] = np.where(
        infos['_discount'], infos['discount'], timestep.discount
      )
    return timestep

  def _call(
    self,
    function: Callable[..., Any],
    *args: Any,
    seconds: float | None,
    what: str,
  ) -> Any:
    """Calls a function in the thread of the environments.

    If that is the caller's thread, the one that called `run` looks after the
    deadline.
    """
    if self._thread.is_current():
      if seconds is not None:
        self._deadline = time.monotonic() + seconds, seconds, what
      try:
        return function(*args)
      finally:
        self._deadline = None
    try:
      return self._thread.call(function, *args, timeout_seconds=seconds)
    except TimeoutError:
      raise self._late(seconds, what) from None

  def _raise_if_late(self) -> None:
    deadline = self._deadline  # The other thread changes it.
    if deadline is not None and time.monotonic() > deadline[0]:
      raise self._late(*deadline[1:])

  def _late(self, seconds: float, what: str) -> factories.FactoryError:
    """Returns the error of environments that do not answer."""
    late = self._envs.late() if self._envs is not None else []
    which = f', {factories.numbered(late)},' if late else ''
    return factories.FactoryError(
      f'{self.name}{which} {what} within {seconds:g} s.'
    )


def _finite(seconds: float) -> float | None:
  return None if math.isinf(seconds) else seconds
