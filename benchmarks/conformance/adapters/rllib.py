"""Ray RLlib: `vtrace_torch` of its IMPALA and APPO learners.

It takes the log-probabilities of both policies. It has no lambda, and no
threshold for c (always 1).
"""

from ray.rllib.algorithms.impala.torch import vtrace_torch_v2
import torch

from benchmarks.conformance.adapters import torch_arrays

PACKAGE, FUNCTION = 'ray', 'vtrace_torch'
WITHOUT = {'lambda_': 1.0, 'clip_c_threshold': 1.0}

to_native, to_numpy = torch_arrays.to_native, torch_arrays.to_numpy


def vtrace(
  log_rhos,
  discounts,
  rewards,
  values,
  bootstrap_value,
  *,
  clip_rho_threshold,
  clip_pg_rho_threshold,
):
  """Returns (vs, pg_advantages), each of the shape of `values`, `[T, ...]`."""
  return vtrace_torch_v2.vtrace_torch(
    target_action_log_probs=log_rhos,
    behaviour_action_log_probs=torch.zeros_like(log_rhos),
    discounts=discounts,
    rewards=rewards,
    values=values,
    bootstrap_values=bootstrap_value,
    clip_rho_threshold=clip_rho_threshold,
    clip_pg_rho_threshold=clip_pg_rho_threshold,
  )


gradient = torch_arrays.make_gradient(vtrace)
