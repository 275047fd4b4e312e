"""Broadcasting in V-trace: several value heads, scalars and lists."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vtrace

T, B, C = 5, 3, 4
FULL = {
  'log_rhos': (T, B, C),
  'discounts': (T, B, C),
  'rewards': (T, B, C),
  'values': (T, B, C),
  'bootstrap_value': (B, C),
}


def make_inputs(**shapes):
  """Returns V-trace's arguments; `shapes` replaces some shapes of `FULL`."""
  inputs = {}
  for i, (name, shape) in enumerate((FULL | shapes).items()):
    inputs[name] = np.float32(np.random.default_rng(i).normal(size=shape))
  return inputs | {'discounts': np.abs(inputs['discounts']) % 1}


def in_full(inputs):
  """Returns the arguments after explicit broadcasting by NumPy."""
  return {
    name: np.broadcast_to(np.asarray(x, np.float32), FULL[name])
    for name, x in inputs.items()
  }


def assert_identical(one, other):
  for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    assert x.shape == y.shape and x.dtype == y.dtype
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize('compiled', (False, True))
@pytest.mark.parametrize(
  'shapes',
  (
    dict(log_rhos=(T, B, 1)),
    dict(discounts=(T, B, 1)),
    dict(log_rhos=(T, B, 1), discounts=(T, 1, 1)),
    dict(values=(T, B, 1), bootstrap_value=(B, 1)),
    dict(rewards=(T, B, 1), discounts=()),
    dict(log_rhos=(), bootstrap_value=()),
    dict(values=(), bootstrap_value=()),
  ),
  ids=str,
)
def test_broadcasting_is_exactly_explicit_broadcasting(shapes, compiled):
  inputs = make_inputs(**shapes)
  compute = vtrace.from_importance_weights
  compute = jax.jit(compute) if compiled else compute
  returns = compute(**inputs)
  assert returns.vs.shape == returns.pg_advantages.shape == (T, B, C)
  assert_identical(returns, compute(**in_full(inputs)))


@pytest.mark.parametrize('convert', (float, np.float32, np.float64, jnp.array))
def test_a_discount_may_be_a_scalar_of_any_kind(convert):
  inputs = make_inputs() | {'discounts': convert(0.75)}
  assert_identical(
    vtrace.from_importance_weights(**inputs),
    vtrace.from_importance_weights(**in_full(inputs)),
  )


def test_a_scalar_keeps_the_precision_of_the_arrays():
  inputs = {n: jnp.bfloat16(x) for n, x in make_inputs().items()}
  returns = vtrace.from_importance_weights(**(inputs | {'discounts': 0.5}))
  assert returns.vs.dtype == returns.pg_advantages.dtype == jnp.bfloat16


def test_all_arguments_may_be_lists():
  inputs = make_inputs()
  lists = {name: x.tolist() for name, x in inputs.items()}
  assert_identical(
    vtrace.from_importance_weights(**lists),
    vtrace.from_importance_weights(**inputs),
  )


def test_integers_are_numbers_too():
  returns = vtrace.from_importance_weights([0, 0, 0], 1, [1, 2, 4], [8] * 3, 16)
  np.testing.assert_array_equal(returns.vs, [23, 22, 20])
  np.testing.assert_array_equal(returns.pg_advantages, [15, 14, 12])


def test_logits_of_one_policy_serve_several_value_heads():
  rng = np.random.default_rng(0)
  mu, pi = np.float32(rng.normal(size=(2, T, B, 1, 6)))
  actions = rng.integers(6, size=(T, B, 1))
  rest = make_inputs(discounts=(T, B, 1))
  del rest['log_rhos']
  full = {name: np.broadcast_to(x, FULL[name]) for name, x in rest.items()}
  heads = (T, B, C, 6)
  assert_identical(
    vtrace.from_logits(mu.tolist(), pi.tolist(), actions.tolist(), **rest),
    vtrace.from_logits(
      np.broadcast_to(mu, heads),
      np.broadcast_to(pi, heads),
      np.broadcast_to(actions, heads[:-1]),
      **full,
    ),
  )


@pytest.mark.parametrize('name', vtrace.corrections.CORRECTIONS)
def test_every_correction_broadcasts(name):
  correct = functools.partial(
    vtrace.corrections.targets_and_advantages,
    vtrace.corrections.CORRECTIONS[name],
  )
  inputs = make_inputs(log_rhos=(T, B, 1)) | {'discounts': 0.9}
  log_pi = -np.abs(np.random.default_rng(9).normal(size=(T, B, 1)))
  assert_identical(
    correct(**inputs, target_log_probs=np.float32(log_pi)),
    correct(
      **in_full(inputs),
      target_log_probs=np.broadcast_to(np.float32(log_pi), (T, B, C)),
    ),
  )


@pytest.mark.parametrize(
  'shapes,names',
  (
    (dict(discounts=(T,)), r'discounts \(5,\)'),
    (dict(log_rhos=(T, B)), r'log_rhos \(5, 3\)'),
    (dict(rewards=(T, B, 2)), r'rewards \(5, 3, 2\)'),
    (dict(values=(1, B, C)), r'values \(1, 3, 4\)'),
    (dict(discounts=(1, 1, 1)), r'discounts \(1, 1, 1\)'),
    (dict(bootstrap_value=(C,)), r'bootstrap_value \(4,\)'),
    (dict(bootstrap_value=(1, C)), r'bootstrap_value \(1, 4\)'),
    (dict(bootstrap_value=(T, B, C)), r'bootstrap_value \(5, 3, 4\)'),
    ({n: (0, *s[1:]) for n, s in FULL.items() if len(s) == 3}, 'T > 0'),
    ({n: () for n in FULL}, 'one T > 0'),
  ),
  ids=str,
)
def test_wrong_shapes_raise_an_error_that_names_the_argument(shapes, names):
  with pytest.raises(AssertionError, match=names):
    vtrace.from_importance_weights(**make_inputs(**shapes))


def test_a_discount_per_step_is_not_taken_for_one_per_element():
  # Where T = B, NumPy would align [T] with the batch axis without an error.
  square = np.ones((3, 3), np.float32)
  with pytest.raises(AssertionError, match=r'discounts \(3,\)'):
    vtrace.from_importance_weights(
      square, np.ones(3, np.float32), square, square, square[0]
    )


def test_all_values_with_the_last_are_not_taken_for_a_longer_unroll():
  one = np.zeros((1, 2), np.float32)
  with pytest.raises(AssertionError, match=r'values \(2, 2\)'):
    vtrace.from_importance_weights(one, one, one, np.zeros((2, 2)), one[0])


@pytest.mark.parametrize('wrong', ('mu', 'actions', 'actions of a wrong rank'))
def test_wrong_shapes_of_logits_raise_an_error_that_names_them(wrong):
  mu, pi, actions = np.zeros((T, B, 6)), np.zeros((T, B, 6)), np.zeros((T, B))
  mu = mu[:, :2] if wrong == 'mu' else mu
  actions = actions[:2] if wrong == 'actions' else actions
  actions = actions[..., None] if 'rank' in wrong else actions
  rest = (actions, actions, actions, np.zeros(B))
  with pytest.raises(AssertionError, match='behaviour_policy_logits.*actions'):
    vtrace.from_logits(mu, pi, actions.astype(int), *rest)


def make_loss_inputs():
  rng = np.random.default_rng(1)
  one_policy = {
    name: -np.abs(np.float32(rng.normal(size=(T, B, 1))))
    for name in ('behaviour_log_probs', 'target_log_probs')
  }
  several_values = make_inputs(discounts=())
  del several_values['log_rhos']
  return (
    one_policy
    | several_values
    | {
      'entropy': np.full((T, B, 1), 0.5, np.float32),
      'mask': rng.random((T, B, 1)) < 0.8,
    }
  )


def loss_of(inputs):
  return vtrace.impala_loss(**inputs, baseline_cost=0.5, entropy_cost=0.01)


def test_the_loss_of_several_value_heads_sums_over_them():
  # The entropy of the one policy counts once.
  inputs = make_loss_inputs()
  trained = ('target_log_probs', 'values')

  @jax.jit
  def loss_and_gradients(inputs):
    return jax.value_and_grad(lambda x: loss_of(inputs | x), has_aux=True)(
      {name: inputs[name] for name in trained}
    )

  def of_head(i):
    head = {
      name: x if x.shape[-1:] == (1,) or not x.ndim else x[..., i : i + 1]
      for name, x in inputs.items()
    }
    return loss_and_gradients(head)

  (loss, terms), gradients = loss_and_gradients(inputs)
  heads = [of_head(i) for i in range(C)]
  for name in ('pg_loss', 'baseline_loss'):
    total = sum(terms[name] for (_, terms), _ in heads)
    np.testing.assert_allclose(terms[name], total, rtol=1e-5)
  np.testing.assert_allclose(
    terms['entropy_loss'], -0.5 * np.sum(inputs['mask']), rtol=1e-5
  )
  total = sum(loss for (loss, _), _ in heads)
  extra = (C - 1) * 0.01 * terms['entropy_loss']
  np.testing.assert_allclose(loss, total - extra, rtol=1e-5)
  np.testing.assert_allclose(
    gradients['target_log_probs'],
    sum(gradient['target_log_probs'] for _, gradient in heads),
    rtol=1e-4,
    atol=1e-6,
  )
  np.testing.assert_allclose(
    gradients['values'],
    np.concatenate([gradient['values'] for _, gradient in heads], axis=-1),
    rtol=1e-5,
  )


def test_diagnostics_of_several_value_heads_count_a_step_once_for_each():
  inputs = make_loss_inputs()
  vs = np.float32(np.random.default_rng(2).normal(size=(T, B, C)))
  arguments = inputs['target_log_probs'], inputs['mask']
  full = (np.broadcast_to(x, vs.shape) for x in arguments)
  thresholds = dict(clip_rho_threshold=0.6, clip_c_threshold=0.4)
  assert_identical(
    vtrace.off_policy_sums(*arguments, vs, inputs['values'], **thresholds),
    vtrace.off_policy_sums(*full, vs, inputs['values'], **thresholds),
  )


@pytest.mark.parametrize(
  'call',
  (
    lambda: vtrace.policy_gradient_loss(np.ones(3), np.ones((3, 3))),
    lambda: vtrace.baseline_loss(np.ones((3, 3)), np.ones(3)),
    lambda: vtrace.entropy_loss(np.ones((3, 3)), np.ones(3, bool)),
    lambda: loss_of(make_loss_inputs() | {'values': np.ones((T, B))}),
    lambda: loss_of(make_loss_inputs() | {'entropy': np.ones((T, B, C))}),
  ),
)
def test_losses_reject_arguments_of_different_shapes(call):
  with pytest.raises(AssertionError):
    call()
