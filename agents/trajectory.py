"""Trajectories: the data that actors send to the learner.

An *unroll* is T steps of one environment. An actor steps B environments at once
and yields a *rollout*: B unrolls, with statistics for the log.

An actor stores *arrival rows*. Row t holds the data known on arrival at step t:
the timestep, the action that led to it, and the behaviour log-probability of
this action. T steps have T+1 rows; the last row is the first row of the actor's
next rollout. Only this file shifts time: `transitions` turns arrival rows into
transitions for the loss.
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
  """An arrival row of a batch of environments."""

  # [B, ...]: step_type, reward, discount, observation.
  timestep: dm_env.TimeStep
  action: Any  # [B] int32: the action that led to the timestep.
  log_prob: Any  # [B] float32: log mu(action|x), x the previous state.


class Trajectory(NamedTuple):
  """Unrolls of a batch of environments, on the device."""

  rows: Row  # [T+1, B, ...]
  core_state: Any  # [B, ...]: core state on entering row 0.


class Rollout(NamedTuple):
  """A trajectory of one actor, with statistics and the actor's state."""

  trajectory: Trajectory
  actor_id: int
  version: int  # Number of updates that made the parameters it acted on.
  state: Any  # `actor.ActorState` after the rollout, to continue from.
  # Time from the end of the actor's previous rollout to the start of this one:
  # waiting for a queue slot and for parameters.
  wait_seconds: float
  num_transitions: int  # Agent steps, without resets.
  episode_returns: np.ndarray  # [number of episodes that ended]
  episode_lengths: np.ndarray  # [number of episodes that ended], agent steps.


class Transitions(NamedTuple):
  """Transitions of an unroll: a_t in x_t gives r_t and leads to x_{t+1}."""

  actions: Array  # [T, B]: a_t.
  behaviour_log_probs: Array  # [T, B]: log mu(a_t|x_t).
  rewards: Array  # [T, B]: r_t, unclipped.
  discounts: Array  # [T, B]: from the environment; 0 at termination, else 1.
  mask: Array  # [T, B] bool: False where the environment ignored a_t and reset.


def is_first(timestep: dm_env.TimeStep) -> Array:
  """Returns whether each timestep is the first of an episode."""
  return timestep.step_type == dm_env.StepType.FIRST


def first_row(timestep: dm_env.TimeStep) -> Row:
  """Returns the arrival row `[B]` of a reset, with an action of 0."""
  num_envs = len(timestep.step_type)
  return Row(
    timestep=timestep,
    action=np.zeros([num_envs], np.int32),
    log_prob=np.zeros([num_envs], np.float32),
  )


def zero_rows(observation_spec: Any, num_rows: int, num_envs: int) -> Row:
  """Returns placeholder rows `[num_rows, num_envs, ...]`."""
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
  """Returns rows 1 to T, `[T, ...]`, of rows `[T+1, ...]`."""
  return jax.tree.map(lambda x: x[1:], xs)


def transitions(rows: Row) -> Transitions:
  """Turns T+1 arrival rows `[T+1, B]` into T transitions `[T, B]`.

  Row t+1 holds the action, reward and discount of step t. If row t+1 is the
  first of an episode, the environment ignored its action and reset. This
  transition, from the last observation of one episode to the first of the next,
  is masked.
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

  `axis` is the batch axis of the unrolls: 1 in rows `[T+1, B, ...]`, 0 in the
  core state `[B, ...]`. Only this function encodes that convention.
  """

  def map_leaves(axis, *trees):
    return jax.tree.map(functools.partial(function, axis), *trees)

  return Trajectory(
    rows=map_leaves(1, *(each.rows for each in trajectories)),
    core_state=map_leaves(0, *(each.core_state for each in trajectories)),
  )


def split_bootstrap(xs: Array) -> tuple[Array, Array]:
  """Splits `[T+1, ...]` into x_0..x_{T-1}, `[T, ...]`, and x_T, `[...]`."""
  return xs[:-1], xs[-1]
