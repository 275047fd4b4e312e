"""Tests of the off-policy diagnostics against NumPy and identities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vtrace

T, B = 40, 50


def make_inputs(seed=0):
  rng = np.random.default_rng(seed)
  log_rhos = rng.normal(0.0, 0.7, size=[T, B]).astype(np.float32)
  vs = rng.normal(3.0, 2.0, size=[T, B]).astype(np.float32)
  values = vs + rng.normal(0.5, 1.0, size=[T, B]).astype(np.float32)
  return log_rhos, rng.random([T, B]) < 0.8, vs, values


def sums_of(log_rhos, mask, vs, values, rho_bar=1.0, c_bar=1.0):
  return vtrace.off_policy_sums(
    log_rhos,
    mask,
    vs,
    values,
    clip_rho_threshold=rho_bar,
    clip_c_threshold=c_bar,
  )


def summary_of(*args, **kwargs):
  return vtrace.off_policy_summary(sums_of(*args, **kwargs))


def test_the_summary_equals_numpys():
  log_rhos, mask, vs, values = make_inputs()
  found = summary_of(log_rhos, mask, vs, values, rho_bar=1.5, c_bar=0.5)
  logs = log_rhos[mask].astype(np.float64)
  rhos = np.exp(logs)
  expected = {
    'log_rho': logs.mean(),
    'rho_clipped': np.mean(rhos > 1.5),
    'c_clipped': np.mean(rhos > 0.5),
    'effective_sample_size': rhos.sum() ** 2 / np.sum(rhos**2) / len(rhos),
    'kl': np.mean(rhos - 1 - logs),
    'explained_variance': 1 - np.var((vs - values)[mask]) / np.var(vs[mask]),
  }
  for name, value in expected.items():
    np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)
  edges = [-np.inf, *vtrace.LOG_RHO_EDGES, np.inf]
  np.testing.assert_array_equal(
    found['log_rho_histogram'], np.histogram(logs, edges)[0]
  )


def test_sums_can_be_added_over_batches():
  parts = [make_inputs(seed) for seed in range(3)]
  whole = summary_of(*(np.concatenate(xs) for xs in zip(*parts)))
  added = jax.tree.map(lambda *xs: sum(xs), *(sums_of(*p) for p in parts))
  for name, value in vtrace.off_policy_summary(added).items():
    np.testing.assert_allclose(value, whole[name], rtol=1e-4, err_msg=name)


def test_on_policy_no_weight_is_clipped_and_every_sample_counts():
  _, mask, vs, _ = make_inputs()
  # Rounding differs between batch shapes, even for equal parameters.
  log_rhos = np.random.default_rng(0).normal(0.0, 1e-6, size=[T, B])
  found = summary_of(log_rhos.astype(np.float32), mask, vs, vs)
  assert found['rho_clipped'] == found['c_clipped'] == 0.0
  np.testing.assert_allclose(found['effective_sample_size'], 1.0, rtol=1e-5)
  np.testing.assert_allclose(found['kl'], 0.0, atol=1e-6)
  assert found['explained_variance'] == 1.0


def test_the_kl_equals_that_of_the_policies():
  # For samples of mu, the mean estimate is KL(mu||pi). No term is negative.
  mu, pi = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
  actions = np.random.default_rng(0).choice(3, size=[200, 500], p=mu)
  log_rhos = np.log(pi / mu)[actions].astype(np.float32)
  zeros = np.zeros_like(log_rhos)
  found = summary_of(log_rhos, zeros == 0, zeros, zeros)
  np.testing.assert_allclose(
    found['kl'], np.sum(mu * np.log(mu / pi)), rtol=0.02
  )
  assert np.isnan(found['explained_variance'])  # The variance is 0.
  for log_rho in (-1.0, 1.0):
    one = jnp.full([1, 1], log_rho)
    assert summary_of(one, one != 0, one, one)['kl'] > 0


def test_the_kl_of_tiny_log_weights_is_not_negative():
  for scale in (1e-5, 1.7e-4, 1e-3):
    log_rhos = np.random.default_rng(0).normal(0.0, scale, [T, B])
    log_rhos = log_rhos.astype(np.float32)
    found = summary_of(log_rhos, log_rhos < 9.0, log_rhos, log_rhos)
    assert 0 <= found['kl'] < scale**2


def test_equal_policies_fall_into_the_middle_bin():
  zeros = np.zeros([T, B], np.float32)
  counts = summary_of(zeros, zeros == 0, zeros, zeros)['log_rho_histogram']
  assert counts[len(counts) // 2] == T * B
  edges = vtrace.LOG_RHO_EDGES
  assert edges[len(edges) // 2] == -edges[len(edges) // 2 - 1] == 0.125


@pytest.mark.parametrize(
  'mean,spread,known',
  ((95.0, 5.0, True), (95.0, 0.1, False), (99.5, 0.0, False)),
)
def test_explained_variance_is_nan_beyond_float32_precision(
  mean, spread, known
):
  rng = np.random.default_rng(0)
  noise = rng.normal(size=[2, T, B]).astype(np.float32)
  vs = mean + spread * noise[0]
  values = vs + 0.5 * spread * noise[1]
  found = summary_of(noise[0], noise[0] < 9.0, vs, values)['explained_variance']
  if known:
    np.testing.assert_allclose(found, 0.75, atol=0.02)
  else:
    assert np.isnan(found)


def test_no_threshold_clips_nothing_and_huge_weights_stay_finite():
  log_rhos, mask = np.full([3, 2], 200.0, np.float32), np.ones([3, 2], bool)
  zeros = np.zeros([3, 2], np.float32)
  found = summary_of(log_rhos, mask, zeros, zeros, None, 1.0)
  assert found['rho_clipped'] == 0.0 and found['c_clipped'] == 1.0
  assert np.isfinite(found['effective_sample_size'])


@pytest.mark.parametrize('log_rho', (38.0, 50.0, 1e9))
def test_equal_weights_are_a_whole_sample_however_large_they_are(log_rho):
  # Devices and accumulation steps add their sums: here 64 of them.
  log_rhos = np.full([100, 100], log_rho, np.float32)
  zeros = np.zeros_like(log_rhos)
  sums = sums_of(log_rhos, zeros == 0, zeros, zeros)
  added = jax.tree.map(lambda x: sum([x] * 64), sums)
  size = vtrace.off_policy_summary(added)['effective_sample_size']
  np.testing.assert_allclose(size, 1.0, rtol=1e-4)


def test_masked_steps_may_be_minus_infinity():
  log_rhos, mask, vs, values = make_inputs()
  masked = np.where(mask, log_rhos, -np.inf)
  for name, value in summary_of(masked, mask, vs, values).items():
    np.testing.assert_array_equal(
      value, summary_of(log_rhos, mask, vs, values)[name], err_msg=name
    )


@pytest.mark.parametrize('name', ('rho', 'error_squared'))
def test_no_gradient_flows(name):
  log_rhos, mask, vs, values = make_inputs()
  gradient = jax.grad(
    lambda x, v: sums_of(x, mask, vs, v)[name], argnums=(0, 1)
  )(jnp.array(log_rhos), jnp.array(values))
  assert not any(np.any(g) for g in gradient)
