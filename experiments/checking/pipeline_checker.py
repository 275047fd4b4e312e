"""All batches of a run, held against what its environments were seen to do.

With a lag of 0 it is known which steps of which environment a batch is made of.
"""

from collections.abc import Sequence
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents import agent as agent_lib
from agents import learner
from agents import trajectory as trajectory_lib
from experiments import config as config_lib
from experiments.checking import comparisons
from experiments.checking import learner_view
from experiments.checking import recording_env


class PipelineChecker:
  """Takes batches in their order; gives each one's deviations."""

  def __init__(
    self,
    config: config_lib.Config,
    agent: agent_lib.Agent,
    envs: Sequence[recording_env.RecordingEnv],
  ):
    """Everything of a run with a lag of 0 and without replay."""
    self._config = config
    self._view = learner_view.make_view(config, agent)
    self._envs = envs
    self._core_states: dict[int, Any] = {}  # By actor: after its last rollout.
    self._num_batches = 0
    self._returns: list[np.ndarray] = []

  def examine(
    self, params: Any, progress: learner.Progress
  ) -> comparisons.Deviations:
    """Compares the next update; `params` acted for it."""
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
    """Compares what was counted in all batches so far."""
    played = [self._records(i) for i in range(len(self._envs))]
    expected = np.concatenate(
      [x for records in played for x in recording_env.episode_returns(records)]
    )
    returns = np.concatenate(self._returns)
    ends = math.inf  # Where one is missing there is nothing to subtract.
    if len(returns) == len(expected):
      ends = np.abs(np.sort(returns) - np.sort(expected))
    transitions = sum(
      np.sum(record.step_type != recording_env.FIRST)
      for records in played
      for record in records[1:]
    )
    frames = transitions * self._envs[0].frames_per_step
    return {
      'episode returns': np.atleast_1d(ends),
      'frames': np.abs(np.array([frames - num_frames])),
    }

  def _rollouts_of(self, number: int) -> list[tuple[int, int]]:
    """Of batch `number`: (actor, which of its rollouts), in order."""
    each = self._config.batch_size // self._config.envs_per_actor
    rollouts = range(number * each, (number + 1) * each)
    return [divmod(i, len(self._envs))[::-1] for i in rollouts]

  def _expected(self) -> recording_env.Record:
    """Returns what the environments did in the next batch, `[T+1, N]`."""
    length = self._config.unroll_length
    rollouts = []
    for actor_id, k in self._rollouts_of(self._num_batches):
      records = self._envs[actor_id].records
      seen = records[k * length : (k + 1) * length + 1]
      rollouts.append(jax.tree.map(lambda *xs: np.stack(xs), *seen))
    return jax.tree.map(lambda *xs: np.concatenate(xs, 1), *rollouts)

  def _records(self, actor_id: int) -> list[recording_env.Record]:
    """Returns the records of one actor that are in the batches so far."""
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
    """Core states, from one unroll to the next and where an episode begins."""
    if not jax.tree.leaves(view.core_state):
      nothing = np.zeros(0)
      return {'core goes on': nothing, 'core begins anew': nothing}
    each = self._config.envs_per_actor
    apart = [np.zeros(0)]
    for i, (actor_id, _) in enumerate(self._rollouts_of(self._num_batches)):
      cut = lambda x, i=i: x[i * each : (i + 1) * each]
      entered = jax.tree.map(cut, trajectory.core_state)
      if actor_id in self._core_states:
        apart.append(_apart(entered, self._core_states[actor_id]))
      self._core_states[actor_id] = jax.tree.map(cut, view.core_state)
    first = trajectory.rows.timestep.step_type == recording_env.FIRST
    begun = np.cumsum(first, 0) > 0
    differ = [
      np.abs(a - b)[begun].ravel()
      for a, b in zip(view.output, view.output_of_other_core, strict=True)
    ]
    return {
      'core goes on': np.concatenate(apart),
      'core begins anew': np.concatenate(differ),
    }


def unshard(sharded: trajectory_lib.Trajectory) -> trajectory_lib.Trajectory:
  """Returns a batch `[D, T+1, B/D, ...]` as `[T+1, B, ...]`."""
  return trajectory_lib.map_unrolls(
    lambda axis, x: jnp.concatenate(list(x), axis), sharded
  )


def _apart(one: Any, other: Any) -> np.ndarray:
  pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
  return np.concatenate(
    [np.abs(a.astype(float) - b.astype(float)).ravel() for a, b in pairs]
  )
