"""Comparisons of one learner batch with the recorded environment steps.

The value targets of equation 1 of the paper are recomputed in NumPy. They are
compared with the targets that the loss used, which follow from its gradients.
The batch has no policy lag: behaviour and target policy are the same, so every
importance weight is 1. Only the factors that a correction derives from an
importance weight of 1 are not recomputed: they come from its row of the table
in `vtrace.corrections`.
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

# Name of a check -> array of absolute or relative differences, 0 if equal.
Deviations = dict[str, np.ndarray]


def compare_rows(
  rows: trajectory_lib.Row, expected: recording_env.Record
) -> Deviations:
  """Compares the rows `[T+1, N]` of a batch with the recorded timesteps."""
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
  """Compares the inputs of the loss at step t with the recorded step t + 1.

  The environment step that follows action t is recorded at t + 1. If this step
  is a reset, action t was ignored: the mask and the gradients must be 0.
  """
  arguments = view.arguments
  is_transition = expected.step_type[1:] != recording_env.FIRST
  clip = builders.reward_clipping(config)
  log_pi = arguments['target_log_probs']
  log_mu = arguments['behaviour_log_probs']
  at_resets = [np.abs(x)[~is_transition] for x in view.gradients.values()]
  return {
    'rewards': np.abs(
      arguments['rewards'] - np.asarray(clip(expected.reward[1:]))
    ),
    'discounts': np.abs(
      arguments['discounts'] - config.discount * expected.discount[1:]
    ),
    'resets': np.concatenate([*at_resets, arguments['mask'][~is_transition]]),
    'weights': _relative(log_pi, log_mu)[is_transition],
    'behaviour': _relative(view.behaviour_later, log_pi)[is_transition],
  }


def compare_loss(
  view: learner_view.View, metrics: dict[str, Any]
) -> Deviations:
  """Compares the loss that the update reports with that of the whole batch."""
  difference = np.abs(float(metrics['loss']) - view.loss)
  return {'loss': np.atleast_1d(difference / (1 + np.abs(view.loss)))}


def compare_targets(
  config: config_lib.Config,
  view: learner_view.View,
  expected: recording_env.Record,
) -> Deviations:
  """Compares the targets that the gradients imply with those of equation 1.

  d loss / d V = baseline_cost (V - v),  d loss / d log pi = -weight advantage
  """
  arguments, gradients = view.arguments, view.gradients
  values = np.append(
    arguments['values'], arguments['bootstrap_value'][None], axis=0
  ).astype(float)
  vs, advantages = targets(config, values, expected)
  weights = _pg_weights(config, arguments['target_log_probs'])
  found_vs = values[:-1] - gradients['values'] / config.baseline_cost
  found_advantages = -gradients['target_log_probs']
  last = expected.step_type[1:] == recording_env.LAST
  terminated = last & (expected.discount[1:] == 0)
  deviation = _relative(found_vs, vs)
  return {
    'terminations': deviation[terminated],
    'truncations': deviation[last & ~terminated],
    'targets': deviation,
    'advantages': _relative(found_advantages, weights * advantages),
  }


def targets(
  config: config_lib.Config, values: np.ndarray, expected: recording_env.Record
) -> tuple[np.ndarray, np.ndarray]:
  """Computes on-policy targets and advantages by backward recursion.

    v_t = V(x_t) + rho (r_t + gamma V(x_{t+1}) - V(x_t))
          + gamma lambda c (v_{t+1} - V(x_{t+1}))
    A_t = r_t + gamma v_{t+1} - V(x_t)

  At a step across a reset v_t = V(x_t) and A_t = 0.

  Args:
    config: gives gamma, lambda, the correction and the clipping thresholds.
    values: V, `[T+1, N]`.
    expected: the recorded steps, `[T+1, N]`.

  Returns:
    (v, A), each `[T, N]`.
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
    is_transition = expected.step_type[t + 1] != recording_env.FIRST
    corrected = values[t] + rho * one_step + beyond
    vs[t] = np.where(is_transition, corrected, values[t])
    advantages[t] = np.where(is_transition, q - values[t], 0.0)
  return vs[:-1], advantages


def _pg_weights(config: config_lib.Config, log_pi: np.ndarray) -> np.ndarray:
  """Returns the on-policy factor of the advantage in the policy gradient."""
  correction = corrections.CORRECTIONS[config.correction]
  weights = np.asarray(correction.pg_weights(np.zeros_like(log_pi), log_pi))
  clip = config.clip_pg_rho_threshold if correction.clips_pg else np.inf
  return np.minimum(weights, clip)


def _relative(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
  """Returns |found - expected| / (1 + |expected|), elementwise."""
  return np.abs(found - expected) / (1 + np.abs(expected))
