"""Machin: V-trace within `IMPALA.update`.

The method runs as it is, on a stand-in for the framework whose networks return
the given values and log-probabilities. It takes whole episodes of transitions,
with the value of the observation after each, and one `gamma`. The targets are
those that it hands to its criterion; the advantages are read from the gradient
of the policy loss in log pi(a_t), which is minus the weighted advantage. It has
no lambda, and clips the weights of the advantages at the threshold of rho.
"""

from unittest import mock

from machin.frame.algorithms import impala
import torch

from benchmarks.conformance.adapters import torch_arrays

PACKAGE, FUNCTION = 'machin', 'IMPALA.update'
WITHOUT = {
  'lambda_': 1.0,
  'clip_pg_rho_threshold': 'clip_rho_threshold',
  'discounts': None,
}
RANKS = (2,)
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
  """Returns (vs, pg_advantages), each of the shape of `values`, `[T, B]`."""
  lengths = _episode_lengths(dones)
  split = lambda x: list(x.T.reshape(-1, 1).split(lengths))
  sample = (
    {'value': split(values)},
    {},
    split(rewards),
    {'value': split(next_values)},
    split(discounts == 0),
    split(torch.zeros_like(log_rhos)),
  )
  log_pi = log_rhos.T.reshape(-1, 1).clone().requires_grad_()
  stand_in = _make_stand_in(sample, log_pi)
  stand_in.discount = discounts.max().item()
  stand_in.isw_clip_rho = torch_arrays.threshold(clip_rho_threshold)
  stand_in.isw_clip_c = torch_arrays.threshold(clip_c_threshold)
  impala.IMPALA.update(stand_in)
  policy_loss = stand_in._backward.call_args_list[0].args[0]
  (gradient,) = torch.autograd.grad(policy_loss, log_pi)
  vs = stand_in.criterion.call_args.args[1]
  return tuple(x.reshape(values.T.shape).T for x in (vs, -gradient))


gradient = torch_arrays.make_row_gradient(vtrace)


def _episode_lengths(dones):
  """Returns the lengths of all episodes, sequence by sequence."""
  ends = dones.clone()
  ends[-1] = True
  (places,) = ends.T.reshape(-1).nonzero(as_tuple=True)
  before = torch.cat([torch.tensor([-1]), places[:-1]])
  return (places - before).tolist()


def _make_stand_in(sample, log_pi):
  """Makes what the method needs of the framework; nothing is trained."""
  stand_in = mock.MagicMock(entropy_weight=None)
  stand_in.replay_buffer.sample_batch.return_value = len(sample[2]), sample
  stand_in._eval_act.return_value = None, log_pi, torch.zeros_like(log_pi)
  stand_in._criticize = lambda state: state['value'].clone()
  return stand_in
