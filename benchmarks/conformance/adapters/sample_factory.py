"""Sample Factory: V-trace within `Learner._calculate_losses`.

The method runs as it is, on a stand-in for the learner whose network returns
the given values and log-probabilities. What the method hands to its own losses
is the result. The method

*   takes arrays [batch * time], one `gamma`, and flags of the ends of episodes;
*   estimates the value after the unroll as (V(x_last) - r_last) / gamma, by
    which the last step bootstraps from its own value. So the bootstrap value is
    given here as the value of a further step, of reward 0;
*   has no lambda, and clips the weights of the advantages at the threshold of
    rho.
"""

import types
from unittest import mock

from sample_factory.algo.learning import learner
from sample_factory.utils import attr_dict
import torch

from benchmarks.conformance.adapters import torch_arrays

PACKAGE, FUNCTION = 'sample-factory', 'Learner._calculate_losses'
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
  zeros = torch.zeros_like(values[:1])
  batch = {
    'log_probs': torch.cat([log_rhos, zeros]),
    'rewards_cpu': torch.cat([rewards, zeros]),
    'values': torch.cat([values, next_values[-1:]]),
    'dones_cpu': torch.cat([dones.float(), zeros]),
  }
  cfg = {
    'recurrence': len(values) + 1,
    'gamma': discounts.max().item() or 1.0,
    'vtrace_rho': torch_arrays.threshold(clip_rho_threshold),
    'vtrace_c': torch_arrays.threshold(clip_c_threshold),
  }
  outputs = calculate(cfg, {k: x.T.reshape(-1) for k, x in batch.items()})
  return tuple(x.reshape(-1, len(values) + 1).T[:-1] for x in outputs)


gradient = torch_arrays.make_row_gradient(vtrace)


def calculate(cfg, batch):
  """Runs `_calculate_losses`; returns its targets and advantages, [batch * T].

  The advantages are those before normalization: the first array from which the
  method selects what is valid.
  """
  select = mock.Mock(side_effect=lambda array, *_: array)
  stand_in = make_stand_in(cfg, batch)
  minibatch = attr_dict.AttrDict(
    batch,
    normalized_obs=batch['values'],
    rnn_states=batch['values'],
    valids=torch.ones_like(batch['values'], dtype=torch.bool),
    log_prob_actions=torch.zeros_like(batch['values']),
    actions=None,
    action_logits=None,
  )
  with mock.patch.object(learner, 'masked_select', select):
    learner.Learner._calculate_losses(stand_in, minibatch, num_invalids=0)
  targets = stand_in._value_loss.call_args.args[2]
  return targets, select.call_args_list[0].args[0]


def make_stand_in(cfg, batch):
  """Makes what the method needs of a learner; its losses only record."""
  stand_in = mock.MagicMock(device='cpu')
  stand_in.cfg = types.SimpleNamespace(
    with_vtrace=True, use_rnn=False, ppo_clip_ratio=0.1, ppo_clip_value=1, **cfg
  )
  network = stand_in.actor_critic
  network.forward_head.return_value = batch['values']
  network.forward_core.return_value = batch['values'], None
  network.forward_tail.return_value = {'values': batch['values']}
  policy = network.action_distribution.return_value
  policy.log_prob.return_value = batch['log_probs']
  stand_in.kl_loss_func.return_value = None, None
  return stand_in
