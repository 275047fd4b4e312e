"""Comparison of all batches of a run with the recorded environment steps.

With a lag of 0 the order of the rollouts is deterministic, so the environment
steps in each batch are known.
"""

from collections.abc import Sequence
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents import agent as agent_lib
from agents import learner
from agents import loss_interface
from agents import trajectory as trajectory_lib
from experiments import config as config_lib
from experiments.checking import comparisons
from experiments.checking import learner_view
from experiments.checking import recording_env


class PipelineChecker:
  """Computes the deviations of the batches of a run, one after another."""

  def __init__(
    self,
    config: config_lib.Config,
    agent: agent_lib.Agent,
    loss: loss_interface.Loss,
    envs: Sequence[recording_env.RecordingEnv],
  ):
    """Initializes the checker of a run with a lag of 0 and without replay."""
    self._config = config
    self._view = learner_view.make_view(config, agent, loss)
    self._envs = envs
    self._core_states: dict[int, Any] = {}  # actor_id -> its last one.
    self._num_batches = 0
    self._returns: list[np.ndarray] = []

  def examine(
    self, params: Any, progress: learner.Progress
  ) -> comparisons.Deviations:
    """Compares the batch of the next update, for which `params` acted."""
    batch = progress.batch
    trajectory = jax.device_get(unshard(batch.trajectory))
    expected = self._expected()
    view = self._view(params, trajectory)
    found = {
      **comparisons.compare_rows(trajectory.rows, expected),
      **comparisons.compare_arguments(self._config, view, expected),
      **comparisons.compare_targets(self._config, view, expected),
      **comparisons.compare_loss(view, progress.metrics),
      **self._compare_core(view, trajectory),
    }
    self._returns.append(batch.episode_returns)
    self._num_batches += 1
    return found

  def examine_counts(self, num_frames: int) -> comparisons.Deviations:
    """Compares episode returns and the frame count of all batches so far."""
    recorded = [self._records(i) for i in range(len(self._envs))]
    expected = np.concatenate(
      [x for steps in recorded for x in recording_env.episode_returns(steps)]
    )
    returns = np.concatenate(self._returns)
    ends = math.inf  # The numbers of episodes differ.
    if len(returns) == len(expected):
      ends = np.abs(np.sort(returns) - np.sort(expected))
    transitions = sum(
      np.sum(record.step_type != recording_env.FIRST)
      for steps in recorded
      for record in steps[1:]
    )
    frames = transitions * self._envs[0].frames_per_step
    return {
      'episode returns': np.atleast_1d(ends),
      'frames': np.abs(np.array([frames - num_frames])),
    }

  def _rollouts_of(self, number: int) -> list[tuple[int, int]]:
    """Returns (actor_id, index among its rollouts) for batch `number`."""
    rollouts_per_batch = self._config.batch_size // self._config.envs_per_actor
    first = number * rollouts_per_batch
    rollouts = range(first, first + rollouts_per_batch)
    return [divmod(i, len(self._envs))[::-1] for i in rollouts]

  def _expected(self) -> recording_env.Record:
    """Returns the recorded steps of the next batch, `[T+1, N]`."""
    length = self._config.unroll_length
    rollouts = []
    for actor_id, k in self._rollouts_of(self._num_batches):
      records = self._envs[actor_id].records
      steps = records[k * length : (k + 1) * length + 1]
      rollouts.append(jax.tree.map(lambda *xs: np.stack(xs), *steps))
    return jax.tree.map(lambda *xs: np.concatenate(xs, 1), *rollouts)

  def _records(self, actor_id: int) -> list[recording_env.Record]:
    """Returns the records of one actor that the batches so far contain."""
    taken = [
      k
      for number in range(self._num_batches)
      for i, k in self._rollouts_of(number)
      if i == actor_id
    ]
    length = self._config.unroll_length
    return self._envs[actor_id].records[: len(taken) * length + 1]

  def _compare_core(
    self, view: learner_view.View, trajectory: trajectory_lib.Trajectory
  ) -> comparisons.Deviations:
    """Compares core states between unrolls and after resets.

    The core state that enters an unroll must be the last one of the previous
    unroll. After a reset the outputs must not depend on it.
    """
    if not jax.tree.leaves(view.core_state):
      nothing = np.zeros(0)
      return {'core state carried': nothing, 'core state reset': nothing}
    num_envs = self._config.envs_per_actor
    carried = [np.zeros(0)]
    for i, (actor_id, _) in enumerate(self._rollouts_of(self._num_batches)):
      of_actor = lambda x, i=i: x[i * num_envs : (i + 1) * num_envs]
      entering = jax.tree.map(of_actor, trajectory.core_state)
      if actor_id in self._core_states:
        last = self._core_states[actor_id]
        carried.append(_absolute_differences(entering, last))
      self._core_states[actor_id] = jax.tree.map(of_actor, view.core_state)
    first = trajectory.rows.timestep.step_type == recording_env.FIRST
    after_reset = np.cumsum(first, 0) > 0
    reset = [
      np.abs(a - b)[after_reset].ravel()
      for a, b in zip(view.output, view.output_of_other_core, strict=True)
    ]
    return {
      'core state carried': np.concatenate(carried),
      'core state reset': np.concatenate(reset),
    }


def unshard(sharded: trajectory_lib.Trajectory) -> trajectory_lib.Trajectory:
  """Returns a batch `[D, T+1, B/D, ...]` as `[T+1, B, ...]`."""
  return trajectory_lib.map_unrolls(
    lambda axis, x: jnp.concatenate(list(x), axis), sharded
  )


def _absolute_differences(one: Any, other: Any) -> np.ndarray:
  pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
  return np.concatenate(
    [np.abs(a.astype(float) - b.astype(float)).ravel() for a, b in pairs]
  )
