"""The table of properties, in the order in which a report shows them."""

from vtrace.conformance import cases
from vtrace.conformance import interface
from vtrace.conformance import mdp
from vtrace.conformance.properties import calls
from vtrace.conformance.properties import clipping
from vtrace.conformance.properties import episodes
from vtrace.conformance.properties import equations
from vtrace.conformance.properties import identities
from vtrace.conformance.properties import operators

_ADVANTAGES = ('pg_advantages',)
_LAMBDAS = {'lambda_': 0.0}, {'lambda_': 0.7}

PROPERTIES = (
  interface.Property(
    'targets',
    'vs is that of equation 1, here a double loop',
    equations.targets,
  ),
  interface.Property(
    'advantages',
    'the advantage is min(pg_rho_bar, w) (r + gamma v_next - V)',
    equations.advantages,
    needs=_ADVANTAGES,
  ),
  interface.Property(
    'single step',
    'an unroll of one step gives V + rho (r + gamma bootstrap - V)',
    identities.single_step,
    prepare=lambda case: cases.steps(case, 0, 1),
  ),
  interface.Property(
    'on-policy targets',
    'with weights of 1, vs is the n-step return',
    equations.n_step_returns,
    prepare=equations.on_policy,
  ),
  interface.Property(
    'discounts',
    'every step has a discount of its own',
    equations.all_of_equation_1,
    prepare=equations.varying_discounts,
    needs=('discounts',),
  ),
  interface.Property(
    'lambda',
    'with weights of 1, lambda < 1 gives lambda-returns',
    equations.lambda_returns,
    prepare=equations.on_policy,
    settings=_LAMBDAS,
    needs=('lambda_',),
  ),
  interface.Property(
    'lambda in traces',
    'lambda multiplies the weights of the traces, and nothing else',
    equations.targets,
    settings=_LAMBDAS,
    needs=('lambda_',),
  ),
  interface.Property(
    'lambda in advantages',
    'the advantage has v_next, whatever lambda is',
    equations.advantages,
    settings=_LAMBDAS,
    needs=('lambda_', 'pg_advantages'),
  ),
  interface.Property(
    'rho_bar',
    'clips the weights of the TD errors, and nothing else',
    clipping.target_threshold,
    settings=clipping.RHO_BARS,
    needs=('clip_rho_threshold',),
  ),
  interface.Property(
    'c_bar',
    'clips the weights of the traces, and nothing else',
    clipping.target_threshold,
    settings=clipping.C_BARS,
    needs=('clip_c_threshold',),
  ),
  interface.Property(
    'pg_rho_bar',
    'clips the weights of the advantages, and does not change vs',
    clipping.advantage_threshold,
    settings=clipping.PG_RHO_BARS,
    needs=('clip_pg_rho_threshold', 'pg_advantages'),
  ),
  interface.Property(
    'no clipping',
    'a threshold of None does not clip',
    equations.all_of_equation_1,
    prepare=clipping.large_weight,
    settings=clipping.NO_CLIPPING,
    needs=('None',),
  ),
  interface.Property(
    'extreme weights',
    'weights of exp(80) and exp(-80) are clipped; results are finite',
    equations.clipped_targets,
    prepare=clipping.extreme_weights,
  ),
  interface.Property(
    'zero weights',
    'weight 0: vs = V, the advantage is 0, nothing later gets past it',
    episodes.no_effect,
    prepare=episodes.zero_weights,
    exact=True,
  ),
  interface.Property(
    'termination',
    'after a discount of 0, nothing of the next episode leaks back',
    episodes.nothing_leaks,
    prepare=episodes.terminated,
  ),
  interface.Property(
    'truncation',
    'V of the last observation bootstraps, not that of the next episode',
    episodes.bootstraps_from_the_last_observation,
    prepare=episodes.truncated,
    min_steps=2,
  ),
  interface.Property(
    'two episodes',
    'two episodes in one unroll give what each gives alone',
    episodes.two_episodes,
    min_steps=2,
  ),
  interface.Property(
    'alignment',
    'a step changes nothing later; its reward counts by its own weight',
    identities.alignment,
    exact=True,
  ),
  interface.Property(
    'time consistency',
    'the first half, bootstrapped from v_s, gives the same targets',
    identities.time_consistency,
    min_steps=2,
  ),
  interface.Property(
    'translation',
    'a constant added to all values is added to vs, not to advantages',
    identities.translation,
  ),
  interface.Property(
    'linearity',
    'vs and advantages are linear in rewards and values together',
    identities.linearity,
  ),
  interface.Property(
    'batch',
    'sequences of a batch do not change each other',
    identities.independent_columns,
    needs=('batch',),
  ),
  interface.Property(
    'fixed point',
    'the value of pi_rho_bar is its own expected target (equation 3)',
    operators.fixed_point,
    settings=operators.RHO_BARS,
    make_cases=mdp.mdp_cases,
    shrinks=False,
  ),
  interface.Property(
    'contraction',
    'expected targets contract at least as fast as in theorem 1',
    operators.contraction,
    make_cases=mdp.mdp_cases,
    shrinks=False,
  ),
  interface.Property(
    'shapes',
    'results have the shape of rewards, and do not depend on its rank',
    calls.shapes,
  ),
  interface.Property(
    'dtype',
    'results have the dtype of the inputs',
    calls.dtype,
    exact=True,
  ),
  interface.Property(
    'inputs unchanged',
    'the inputs are not modified',
    calls.inputs_unchanged,
    exact=True,
  ),
  interface.Property(
    'no gradient',
    'no gradient flows through vs and advantages',
    calls.no_gradient,
    needs=('gradient',),
    exact=True,
  ),
)
