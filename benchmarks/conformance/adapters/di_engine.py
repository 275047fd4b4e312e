"""DI-engine: V-trace of its IMPALA policy, `vtrace_error_discrete_action`.

The function returns losses; what its parts `vtrace_nstep_return` and
`vtrace_advantage` return in it is recorded. It takes one `gamma`, and logits of
both policies: here those of two actions, the first of which was taken.

No unroll of this library has steps of two episodes: `get_train_sample` ends it
with the episode and fills it with steps marked `done`, whose values and rewards
`_reshape_data` of the policy sets to 0. So each episode in the input is a call
of its own here, and in it what follows the episode is marked `done`.
"""

import types
from unittest import mock

from ding.policy import impala
from ding.rl_utils import vtrace as ding_vtrace
import torch

from benchmarks.conformance.adapters import torch_arrays

PACKAGE, FUNCTION = 'DI-engine', 'vtrace_error_discrete_action'
WITHOUT = {'discounts': None}
RANKS = (2,)

to_native, to_numpy = torch_arrays.to_native, torch_arrays.to_numpy


def vtrace(
  log_rhos,
  discounts,
  rewards,
  values,
  bootstrap_value,
  *,
  clip_rho_threshold,
  clip_c_threshold,
  clip_pg_rho_threshold,
  lambda_,
):
  """Returns (vs, pg_advantages), each of the shape of `values`, `[T, B]`."""
  settings = (
    discounts.max().item(),
    lambda_,
    torch_arrays.threshold(clip_rho_threshold),
    torch_arrays.threshold(clip_c_threshold),
    torch_arrays.threshold(clip_pg_rho_threshold),
  )
  all_values = torch.cat([values, bootstrap_value[None]])
  ends = discounts == 0
  starts = torch.cat([torch.ones_like(ends[:1]), ends[:-1]])
  outputs = torch.empty_like(values), torch.empty_like(values)
  for s, columns in enumerate(starts):
    if columns.any():
      over = ends[s:].cumsum(dim=0) > 0
      data = mask_ends(log_rhos[s:], rewards[s:], all_values[s:], over)
      found = calculate(ding_vtrace.vtrace_data(*data), *settings)
      for output, x in zip(outputs, found, strict=True):
        output[s:, columns] = x[:, columns]
  return outputs


gradient = torch_arrays.make_gradient(vtrace)


def calculate(*args):
  """Runs the function; returns the targets and the advantages of its losses."""
  recorded = []

  def recording(function):
    def call(*args):
      recorded.append(function(*args))
      return recorded[-1]

    return call

  names = 'vtrace_nstep_return', 'vtrace_advantage'
  patches = {name: recording(getattr(ding_vtrace, name)) for name in names}
  with mock.patch.multiple(ding_vtrace, **patches):
    ding_vtrace.vtrace_error_discrete_action(*args)
  return recorded


def mask_ends(log_rhos, rewards, values, dones):
  """Runs `_reshape_data` of the policy: `vtrace_data` with ends applied."""
  behaviour, target = make_logits(log_rhos)
  stand_in = types.SimpleNamespace(
    _action_space='discrete', _unroll_len=len(rewards), _action_shape=2
  )
  batch = {
    'logit': behaviour,
    'action': torch.zeros_like(rewards, dtype=torch.int64),
    'reward': rewards,
    'done': dones,
  }
  # The policy's own logits go one step further, and the last is dropped. The
  # method writes into the values.
  output = {'logit': torch.cat([target, target[-1:]]), 'value': values.clone()}
  return impala.IMPALAPolicy._reshape_data(stand_in, output, batch)


def make_logits(log_rhos):
  """Returns logits of mu and pi, `[T, B, 2]`, with these log weights."""
  log_mu = -torch.clamp(log_rhos, min=0) - 1
  return _two_actions(log_mu), _two_actions(log_mu + log_rhos)


def _two_actions(log_prob):
  """Returns the log-probabilities of two actions, given that of the first."""
  return torch.stack([log_prob, torch.log1p(-torch.exp(log_prob))], dim=-1)
