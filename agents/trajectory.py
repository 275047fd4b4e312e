"""What flows from the actors to the learner, and its one change of view.

An *unroll* is T steps of one environment. An actor steps B environments at once
and hands over a *rollout*: B unrolls, and what to log about them.

An actor stores *arrival rows*: row t is what is known on arriving at step t,
that is the timestep together with the action, and its behaviour
log-probability, that led there. T steps have T+1 rows; the last row is the
first row of the actor's next rollout. Time is shifted in this file alone:
`transitions` turns rows into transitions for the loss.
"""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import dm_env
import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


class Row(NamedTuple):
  """Arrival at one step, in a batch of environments."""

  # [B, ...]: step_type, reward, discount, observation.
  timestep: dm_env.TimeStep
  action: Any  # [B] int32: the action that led here.
  log_prob: Any  # [B] float32: log mu(action), in the state it was taken.


class Trajectory(NamedTuple):
  """Unrolls of a batch of environments, side by side; on the device."""

  rows: Row  # [T+1, B, ...]
  core_state: Any  # [B, ...]: the core's state on entering row 0.


class Rollout(NamedTuple):
  """What an actor hands over."""

  trajectory: Trajectory
  actor_id: int
  version: int  # Updates that had made the parameters it acted on.
  state: Any  # `actor.ActorState` after it: the actor can go on from there.
  wait_seconds: float  # Between the actor's rollout before and this one.
  num_transitions: int  # Agent steps in it, resets not counted.
  episode_returns: np.ndarray  # [number of episodes that ended in it]
  episode_lengths: np.ndarray  # [same], in agent steps.


class Transitions(NamedTuple):
  """Step t of an unroll: in x_t, a_t gave r_t and led to x_{t+1}."""

  actions: Array  # [T, B]: a_t.
  behaviour_log_probs: Array  # [T, B]: log mu(a_t|x_t).
  rewards: Array  # [T, B]: r_t, unclipped.
  discounts: Array  # [T, B]: the environment's own, 0 at termination, else 1.
  mask: Array  # [T, B] bool: False where the environment ignored a_t to reset.


def is_first(timestep: dm_env.TimeStep) -> Array:
  """Where an episode begins: what came before is forgotten."""
  return timestep.step_type == dm_env.StepType.FIRST


def first_row(timestep: dm_env.TimeStep) -> Row:
  """The row of a reset, which no action led to."""
  num_envs = len(timestep.step_type)
  return Row(
    timestep=timestep,
    action=np.zeros([num_envs], np.int32),
    log_prob=np.zeros([num_envs], np.float32),
  )


def zero_rows(observation_spec: Any, num_rows: int, num_envs: int) -> Row:
  """Rows `[num_rows, num_envs, ...]` of zeros, in the shapes of real ones."""
  shape = num_rows, num_envs
  timestep = dm_env.TimeStep(
    step_type=np.zeros(shape, np.int32),
    reward=np.zeros(shape, np.float32),
    discount=np.ones(shape, np.float32),
    observation=jax.tree.map(
      lambda spec: np.zeros((*shape, *spec.shape), spec.dtype), observation_spec
    ),
  )
  return Row(timestep, np.zeros(shape, np.int32), np.zeros(shape, np.float32))


def arrivals(xs: Any) -> Any:
  """Of rows `[T+1, ...]` those that a step led to, `[T, ...]`."""
  return jax.tree.map(lambda x: x[1:], xs)


def transitions(rows: Row) -> Transitions:
  """Turns T+1 arrival rows `[T+1, B]` into T transitions `[T, B]`.

  What arrives with row t+1 is the outcome of step t. A row that is the first of
  an episode was not led to by its action: that transition, from the last
  observation of one episode to the first of the next, is masked.
  """
  timestep, actions, log_probs = arrivals(
    rows._replace(timestep=rows.timestep._replace(observation=()))
  )
  return Transitions(
    actions=actions,
    behaviour_log_probs=log_probs,
    rewards=timestep.reward,
    discounts=timestep.discount,
    mask=jnp.logical_not(is_first(timestep)),
  )


def map_unrolls(
  function: Callable[..., Any], *trajectories: Trajectory
) -> Trajectory:
  """Applies `function(axis, *leaves)` to the leaves of trajectories.

  Unrolls lie side by side along `axis`: 1 in rows `[T+1, B, ...]`, 0 in the
  core state `[B, ...]`. Nothing else needs to know that.
  """

  def map_leaves(axis, *trees):
    return jax.tree.map(functools.partial(function, axis), *trees)

  return Trajectory(
    rows=map_leaves(1, *(each.rows for each in trajectories)),
    core_state=map_leaves(0, *(each.core_state for each in trajectories)),
  )


def split_bootstrap(xs: Array) -> tuple[Array, Array]:
  """What belongs to x_0..x_{T-1}, `[T, ...]`, and to x_T, `[...]`."""
  return xs[:-1], xs[-1]
