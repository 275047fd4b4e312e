"""A batch of the learner's, held against what its environments were seen to do.

Everything is computed a second time: targets are written out in NumPy, and of
the loss nothing is known but its gradients. It is a batch without a lag: the
policy that acted is the one that is trained, so every importance weight is 1.
Only what a correction makes of that is read from its row in
`vtrace.corrections`.
"""

from typing import Any

import jax
import numpy as np

from agents import trajectory as trajectory_lib
from experiments import config as config_lib
from experiments.checking import learner_view
from experiments.checking import recording_env
from experiments.training import builders
from vtrace import corrections

# By check: how far what was seen is from what should be, an array each.
Deviations = dict[str, np.ndarray]


def compare_rows(
  rows: trajectory_lib.Row, expected: recording_env.Record
) -> Deviations:
  """Compares the rows that were learnt from with what the environments gave."""
  observations = rows.timestep.observation
  sums = [
    recording_env.checksums(jax.tree.map(lambda x, t=t: x[t], observations))
    for t in range(len(rows.action))
  ]
  return {
    'observations': (np.stack(sums) != expected.checksum).astype(float),
    'actions': np.abs(rows.action[1:] - expected.action[1:]).astype(float),
    'step types': np.abs(rows.timestep.step_type - expected.step_type),
  }


def compare_arguments(
  config: config_lib.Config,
  view: learner_view.View,
  expected: recording_env.Record,
) -> Deviations:
  """Compares step t of the loss with what followed the action of step t."""
  arguments = view.arguments
  follows = expected.step_type[1:] != recording_env.FIRST
  clip = builders.reward_clipping(config)
  log_pi = arguments['target_log_probs']
  log_mu = arguments['behaviour_log_probs']
  reset = [np.abs(x)[~follows] for x in view.gradients.values()]
  return {
    'rewards': np.abs(
      arguments['rewards'] - np.asarray(clip(expected.reward[1:]))
    ),
    'discounts': np.abs(
      arguments['discounts'] - config.discount * expected.discount[1:]
    ),
    'resets': np.concatenate([*reset, arguments['mask'][~follows]]),
    'weights': _relative(log_pi, log_mu)[follows],
    'behaviour': _relative(view.behaviour_later, log_pi)[follows],
  }


def compare_loss(
  view: learner_view.View, metrics: dict[str, Any]
) -> Deviations:
  """The loss that the update reports, and that of the whole batch."""
  apart = np.abs(float(metrics['loss']) - view.loss) / (1 + np.abs(view.loss))
  return {'loss': np.atleast_1d(apart)}


def compare_targets(
  config: config_lib.Config,
  view: learner_view.View,
  expected: recording_env.Record,
) -> Deviations:
  """The targets that the loss's gradients tell of, and those of equation 1.

  d loss / d V = baseline_cost (V - v),  d loss / d log pi = -advantage
  """
  arguments, gradients = view.arguments, view.gradients
  values = np.append(
    arguments['values'], arguments['bootstrap_value'][None], axis=0
  ).astype(float)
  vs, advantages = targets(config, values, expected)
  weights = _pg_weights(config, arguments['target_log_probs'])
  seen_vs = values[:-1] - gradients['values'] / config.baseline_cost
  seen_advantages = -gradients['target_log_probs']
  last = expected.step_type[1:] == recording_env.LAST
  terminated = last & (expected.discount[1:] == 0)
  apart = _relative(seen_vs, vs)
  return {
    'terminations': apart[terminated],
    'truncations': apart[last & ~terminated],
    'targets': apart,
    'advantages': _relative(seen_advantages, weights * advantages),
  }


def targets(
  config: config_lib.Config, values: np.ndarray, expected: recording_env.Record
) -> tuple[np.ndarray, np.ndarray]:
  """On-policy v_t and r_t + gamma v_{t+1} - V(x_t), episode by episode.

  Args:
    config: gamma, lambda, and thresholds, which clip where below 1.
    values: V, `[T+1, N]`.
    expected: what was seen, `[T+1, N]`.
  """
  correction = corrections.CORRECTIONS[config.correction]
  rho = c = float(correction.value_weights(np.zeros([])))
  if correction.clips_values:
    rho = min(rho, config.clip_rho_threshold)
    c = min(c, config.clip_c_threshold)
  rewards = np.asarray(builders.reward_clipping(config)(expected.reward))
  vs, advantages = np.array(values), np.zeros_like(values[1:])
  for t in reversed(range(len(advantages))):
    gamma = config.discount * expected.discount[t + 1]
    q = rewards[t + 1] + gamma * vs[t + 1]
    one_step = rewards[t + 1] + gamma * values[t + 1] - values[t]
    beyond = gamma * config.lambda_ * c * (vs[t + 1] - values[t + 1])
    follows = expected.step_type[t + 1] != recording_env.FIRST
    vs[t] = np.where(follows, values[t] + rho * one_step + beyond, values[t])
    advantages[t] = np.where(follows, q - values[t], 0.0)
  return vs[:-1], advantages


def _pg_weights(config: config_lib.Config, log_pi: np.ndarray) -> np.ndarray:
  """Returns the weights of grad log pi besides the advantage, on-policy."""
  correction = corrections.CORRECTIONS[config.correction]
  weights = np.asarray(correction.pg_weights(np.zeros_like(log_pi), log_pi))
  clip = config.clip_pg_rho_threshold if correction.clips_pg else np.inf
  return np.minimum(weights, clip)


def _relative(seen: np.ndarray, expected: np.ndarray) -> np.ndarray:
  """How far apart; beyond 1 in parts of what is expected."""
  return np.abs(seen - expected) / (1 + np.abs(expected))
