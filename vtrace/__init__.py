"""V-trace and the IMPALA loss: arrays in, arrays out."""

from vtrace import corrections
from vtrace import rewards
from vtrace.diagnostics import LOG_RHO_EDGES
from vtrace.diagnostics import off_policy_summary
from vtrace.diagnostics import off_policy_sums
from vtrace.losses import baseline_loss
from vtrace.losses import entropy_loss
from vtrace.losses import impala_loss
from vtrace.losses import policy_gradient_loss
from vtrace.rewards import abs_one
from vtrace.rewards import soft_asymmetric
from vtrace.rewards import soft_asymmetric_paper
from vtrace.targets import VTraceReturns
from vtrace.targets import from_importance_weights
from vtrace.targets import from_logits

__all__ = [
  'LOG_RHO_EDGES',
  'VTraceReturns',
  'abs_one',
  'baseline_loss',
  'corrections',
  'entropy_loss',
  'from_importance_weights',
  'from_logits',
  'impala_loss',
  'off_policy_summary',
  'off_policy_sums',
  'policy_gradient_loss',
  'rewards',
  'soft_asymmetric',
  'soft_asymmetric_paper',
]
