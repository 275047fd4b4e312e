"""What reaches the learner, held against what the worlds were seen to do.

Everything here is worked out a second time: of what a world was told and
answered, its `witness` knows; targets are written out in NumPy; of the loss
nothing is known but its gradients. With a lag of 0 the acting policy is the one
that is trained, so every importance weight is 1.
"""

from collections.abc import Callable
from collections.abc import Sequence
import math
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents import agent as agent_lib
from agents import batcher
from agents import learner
from agents import trajectory as trajectory_lib
from experiments import config as config_lib
from experiments import parts
from experiments import witness
import vtrace

# By check: how far what was seen is from what should be, an array each.
Deviations = dict[str, np.ndarray]

_MOVED = 1.5  # Times the parameters: another policy.


class View(NamedTuple):
  """One batch as the learner sees it."""

  arguments: dict[str, np.ndarray]  # Of the loss, `[T, N]`.
  gradients: dict[str, np.ndarray]  # Of the loss, in three of them.
  behaviour_later: np.ndarray  # `[T, N]`: to parameters that have moved.
  output: Any  # The network's, `[T+1, N]`.
  output_of_other_core: Any  # Had another core state entered.
  core_state: Any  # After the last step, `[N, ...]`.


def make_view(
  config: config_lib.Config, agent: agent_lib.Agent
) -> Callable[[Any, trajectory_lib.Trajectory], View]:
  """(acting parameters, trajectory `[T+1, N]`) -> `View`, on the host."""
  loss = parts.make_loss(config)
  trained = ('target_log_probs', 'values', 'entropy')

  def arguments_of(params, trajectory):
    return learner.loss_arguments(
      agent,
      params,
      trajectory,
      discount=config.discount,
      clip_rewards=parts.reward_clipping(config),
    )

  @jax.jit
  def view(params, trajectory):
    arguments = arguments_of(params, trajectory)
    gradients = jax.grad(lambda x: loss(**(arguments | x))[0])(
      {name: arguments[name] for name in trained}
    )
    moved = jax.tree.map(lambda p: _MOVED * p, params)
    rows, core_state = trajectory
    return View(
      arguments=arguments,
      gradients=gradients,
      behaviour_later=arguments_of(moved, trajectory)['behaviour_log_probs'],
      output=agent.unroll(params, rows, core_state),
      output_of_other_core=agent.unroll(params, rows, _other(core_state)),
      core_state=_stepped(agent, params, trajectory),
    )

  return lambda *args: jax.device_get(view(*args))


class Oracle:
  """Takes batches in their order; gives each one's deviations."""

  def __init__(
    self,
    config: config_lib.Config,
    agent: agent_lib.Agent,
    witnesses: Sequence[witness.Witness],
  ):
    """Everything of a run with a lag of 0 and without replay."""
    self._config = config
    self._view = make_view(config, agent)
    self._witnesses = witnesses
    self._core_states: dict[int, Any] = {}  # By actor: after its last rollout.
    self._num_batches = 0
    self._returns: list[np.ndarray] = []

  def examine(self, params: Any, batch: batcher.Batch) -> Deviations:
    """Compares the next batch; `params` acted for it."""
    trajectory = jax.device_get(undeal(batch.trajectory))
    expected = self._expected()
    view = self._view(params, trajectory)
    found = {
      **compare_rows(trajectory.rows, expected),
      **compare_arguments(self._config, view, expected),
      **compare_targets(self._config, view, expected),
      **self._compare_core(view, trajectory),
    }
    self._returns.append(batch.episode_returns)
    self._num_batches += 1
    return found

  def examine_counts(self, num_frames: int) -> Deviations:
    """Compares what was counted in all batches so far."""
    played = [self._records(i) for i in range(len(self._witnesses))]
    expected = np.concatenate(
      [x for records in played for x in witness.episode_returns(records)]
    )
    returns = np.concatenate(self._returns)
    ends = math.inf  # Where one is missing there is nothing to subtract.
    if len(returns) == len(expected):
      ends = np.abs(np.sort(returns) - np.sort(expected))
    transitions = sum(
      np.sum(record.step_type != witness.FIRST)
      for records in played
      for record in records[1:]
    )
    frames = transitions * self._witnesses[0].frames_per_step
    return {
      'episode returns': np.atleast_1d(ends),
      'frames': np.abs(np.array([frames - num_frames])),
    }

  def _rollouts_of(self, number: int) -> list[tuple[int, int]]:
    """Of batch `number`: (actor, which of its rollouts), in order."""
    each = self._config.batch_size // self._config.envs_per_actor
    rollouts = range(number * each, (number + 1) * each)
    return [divmod(i, len(self._witnesses))[::-1] for i in rollouts]

  def _expected(self) -> witness.Record:
    """What the worlds were seen to do in the next batch, `[T+1, N]`."""
    length = self._config.unroll_length
    parts_ = []
    for actor_id, k in self._rollouts_of(self._num_batches):
      records = self._witnesses[actor_id].records
      seen = records[k * length : (k + 1) * length + 1]
      parts_.append(jax.tree.map(lambda *xs: np.stack(xs), *seen))
    return jax.tree.map(lambda *xs: np.concatenate(xs, 1), *parts_)

  def _records(self, actor_id: int) -> list[witness.Record]:
    """Those of one actor's world that are in the batches so far."""
    taken = [
      k
      for number in range(self._num_batches)
      for i, k in self._rollouts_of(number)
      if i == actor_id
    ]
    length = self._config.unroll_length
    return self._witnesses[actor_id].records[: len(taken) * length + 1]

  def _compare_core(
    self, view: View, trajectory: trajectory_lib.Trajectory
  ) -> Deviations:
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
    begun = np.cumsum(trajectory_lib.first(trajectory.rows.timestep), 0) > 0
    differ = [
      np.abs(a - b)[begun].ravel()
      for a, b in zip(view.output, view.output_of_other_core, strict=True)
    ]
    return {
      'core goes on': np.concatenate(apart),
      'core begins anew': np.concatenate(differ),
    }


def undeal(dealt: trajectory_lib.Trajectory) -> trajectory_lib.Trajectory:
  """A batch `[D, T+1, B/D, ...]` as `[T+1, B, ...]`."""

  def join(axis):
    return lambda x: jnp.concatenate(list(x), axis)

  return trajectory_lib.Trajectory(
    jax.tree.map(join(1), dealt.rows), jax.tree.map(join(0), dealt.core_state)
  )


def compare_rows(
  rows: trajectory_lib.Row, expected: witness.Record
) -> Deviations:
  """Rows as they were learnt from, and as the world gave them."""
  observations = rows.timestep.observation
  sums = [
    witness.checksums(jax.tree.map(lambda x, t=t: x[t], observations))
    for t in range(len(rows.action))
  ]
  return {
    'observations': (np.stack(sums) != expected.checksum).astype(float),
    'actions': np.abs(rows.action[1:] - expected.action[1:]).astype(float),
    'step types': np.abs(rows.timestep.step_type - expected.step_type),
  }


def compare_arguments(
  config: config_lib.Config, view: View, expected: witness.Record
) -> Deviations:
  """Step t of the loss, and what followed the action of step t."""
  arguments = view.arguments
  follows = expected.step_type[1:] != witness.FIRST
  clip = parts.reward_clipping(config)
  log_pi = arguments['target_log_probs']
  log_rhos = log_pi - arguments['behaviour_log_probs']
  reset = [np.abs(x)[~follows] for x in view.gradients.values()]
  return {
    'rewards': np.abs(
      arguments['rewards'] - np.asarray(clip(expected.reward[1:]))
    ),
    'discounts': np.abs(
      arguments['discounts'] - config.discount * expected.discount[1:]
    ),
    'resets': np.concatenate([*reset, arguments['mask'][~follows]]),
    'weights': np.abs(log_rhos)[follows],
    'behaviour': np.abs(view.behaviour_later - log_pi)[follows],
  }


def compare_targets(
  config: config_lib.Config, view: View, expected: witness.Record
) -> Deviations:
  """The targets that the loss's gradients tell of, and those of equation 1.

  d loss / d V = baseline_cost (V - v),  d loss / d log pi = -advantage
  """
  arguments, gradients = view.arguments, view.gradients
  values = np.append(
    arguments['values'], arguments['bootstrap_value'][None], axis=0
  ).astype(float)
  vs, advantages = targets(config, values, expected)
  weight = _policy_weight(config, arguments['target_log_probs'])
  seen_vs = values[:-1] - gradients['values'] / config.baseline_cost
  seen_advantages = -gradients['target_log_probs']
  last = expected.step_type[1:] == witness.LAST
  terminated = last & (expected.discount[1:] == 0)
  apart = np.abs(seen_vs - vs) / (1 + np.abs(vs))
  return {
    'terminations': apart[terminated],
    'truncations': apart[last & ~terminated],
    'targets': apart,
    'advantages': np.abs(seen_advantages - weight * advantages)
    / (1 + np.abs(advantages)),
  }


def targets(
  config: config_lib.Config, values: np.ndarray, expected: witness.Record
) -> tuple[np.ndarray, np.ndarray]:
  """On-policy v_t and r_t + gamma v_{t+1} - V(x_t), episode by episode.

  Args:
    config: gamma, lambda, and thresholds, which clip where below 1.
    values: V, `[T+1, N]`.
    expected: what was seen, `[T+1, N]`.
  """
  corrected = config.correction == 'vtrace'
  rho = min(1.0, config.clip_rho_threshold) if corrected else 1.0
  c = min(1.0, config.clip_c_threshold) if corrected else 1.0
  rewards = np.asarray(parts.reward_clipping(config)(expected.reward))
  vs, advantages = np.array(values), np.zeros_like(values[1:])
  for t in reversed(range(len(advantages))):
    gamma = config.discount * expected.discount[t + 1]
    q = rewards[t + 1] + gamma * vs[t + 1]
    one_step = rewards[t + 1] + gamma * values[t + 1] - values[t]
    beyond = gamma * config.lambda_ * c * (vs[t + 1] - values[t + 1])
    follows = expected.step_type[t + 1] != witness.FIRST
    vs[t] = np.where(follows, values[t] + rho * one_step + beyond, values[t])
    advantages[t] = np.where(follows, q - values[t], 0.0)
  return vs[:-1], advantages


def _policy_weight(config: config_lib.Config, log_pi: np.ndarray) -> Any:
  """What grad log pi weighs besides the advantage, on-policy."""
  if config.correction == 'epsilon':
    return np.exp(log_pi) / (np.exp(log_pi) + vtrace.corrections.EPSILON)
  if config.correction == 'none':
    return 1.0
  return min(1.0, config.clip_pg_rho_threshold)


def _stepped(
  agent: agent_lib.Agent, params: Any, trajectory: trajectory_lib.Trajectory
) -> Any:
  """The core state after acting through all rows but the last, one by one."""
  key = jax.random.key(0)

  def step(core_state, row):
    return agent.step(params, key, row, core_state)[1], None

  rows = jax.tree.map(lambda x: x[:-1], trajectory.rows)
  return jax.lax.scan(step, trajectory.core_state, rows)[0]


def _other(core_state: Any) -> Any:
  """Nothing like it, of the same types."""
  return jax.tree.map(
    lambda x: 255 - x if x.dtype == jnp.uint8 else x + 1, core_state
  )


def _apart(one: Any, other: Any) -> np.ndarray:
  pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
  return np.concatenate(
    [np.abs(a.astype(float) - b.astype(float)).ravel() for a, b in pairs]
  )
