"""TorchRL: `vtrace_advantage_estimate`, the function behind its `VTrace`.

It takes arrays [..., time, features], the value of the observation after every
step, and flags of the ends of episodes. `gamma` may be an array, as it is where
`VTrace` has n-step data. The function has no lambda, and clips the weights of
the advantages at the threshold of rho.
"""

import torch
from torchrl.objectives.value import functional

from benchmarks.conformance.adapters import torch_arrays

PACKAGE, FUNCTION = 'torchrl', 'vtrace_advantage_estimate'
WITHOUT = {'lambda_': 1.0, 'clip_pg_rho_threshold': 'clip_rho_threshold'}
TAKES_TRANSITIONS = True

to_native, to_numpy = torch_arrays.to_native, torch_arrays.to_numpy


def vtrace(
  log_rhos,
  discounts,
  rewards,
  values,
  next_values,
  dones,
  *,
  clip_rho_threshold,
  clip_c_threshold,
):
  """Returns (vs, pg_advantages), each of the shape of `values`, `[T, ...]`."""
  advantages, vs = functional.vtrace_advantage_estimate(
    _time_second_last(torch.where(discounts == 0, 1, discounts)),
    _time_second_last(log_rhos),
    _time_second_last(torch.zeros_like(log_rhos)),
    _time_second_last(values),
    _time_second_last(next_values),
    _time_second_last(rewards),
    _time_second_last(dones),
    _time_second_last(discounts == 0),
    rho_thresh=torch_arrays.threshold(clip_rho_threshold),
    c_thresh=torch_arrays.threshold(clip_c_threshold),
  )
  return tuple(x.movedim(-2, 0).reshape(values.shape) for x in (vs, advantages))


gradient = torch_arrays.make_row_gradient(vtrace)


def _time_second_last(tensor):
  """Makes `[T]` and `[T, B]` an array [..., T, 1], and [T, B, C] [B, T, C]."""
  if tensor.ndim < 3:
    tensor = tensor[..., None]
  return tensor.movedim(0, -2)
