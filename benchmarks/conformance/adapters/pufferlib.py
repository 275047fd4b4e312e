"""PufferLib: `compute_puff_advantage`, compiled.

It takes arrays [batch, time], one `gamma`, and arrival rows: the reward of a
step and its terminal flag stand in the next row, so there is one row more than
steps. What it returns, v_t - V(x_t), is the advantage of the policy as well;
PPO's loss adds the weights.
"""

from pufferlib import pufferl
import torch

from benchmarks.conformance.adapters import torch_arrays

PACKAGE, FUNCTION = 'pufferlib-core', 'compute_puff_advantage'
WITHOUT = {
  'clip_pg_rho_threshold': 1.0,
  'discounts': None,
  'pg_advantages': None,
}
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
  lambda_,
):
  """Returns (vs, None); vs has the shape of `values`, `[T, B]`."""
  zeros = torch.zeros_like(values[:1])
  rows = (
    torch.cat([values, bootstrap_value[None]]),
    torch.cat([zeros, rewards]),
    torch.cat([zeros, (discounts == 0).to(values.dtype)]),
    torch.cat([log_rhos.exp(), zeros]),
    torch.zeros(len(values) + 1, values.shape[1], dtype=values.dtype),
  )
  rows = [x.T.contiguous() for x in rows]
  advantages = pufferl.compute_puff_advantage(
    *rows,
    discounts.max().item(),
    lambda_,
    torch_arrays.threshold(clip_rho_threshold),
    torch_arrays.threshold(clip_c_threshold),
  )
  return values + advantages.T[:-1], None
