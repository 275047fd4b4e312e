"""Gradient accumulation: any number of passes gives the sum of the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import gradient_accumulation
from agents import trajectory

T, B = 3, 6


def make_trajectory():
  """Returns unrolls with random actions, rewards and core states."""
  rng = np.random.default_rng(0)
  rows = trajectory.zero_rows(jax.ShapeDtypeStruct((), np.float32), T + 1, B)
  timestep = rows.timestep._replace(
    reward=rng.normal(size=(T + 1, B)).astype(np.float32)
  )
  core_state = rng.normal(size=(B, 2)).astype(np.float32)
  return trajectory.Trajectory(rows._replace(timestep=timestep), core_state)


def sums(params, of):
  """Returns sums over unrolls that depend on the pairing of rows and state."""
  rewards = jnp.sum(of.rows.timestep.reward, axis=0)
  return {
    'products': params * jnp.sum(rewards[:, None] * of.core_state, axis=0),
    'count': jnp.float32(rewards.size),
  }


@pytest.mark.parametrize('unrolls_per_pass', (1, 2, 3, 6, 100, None))
def test_passes_add_up_to_the_whole_batch(unrolls_per_pass):
  of = make_trajectory()
  found = gradient_accumulation.accumulate(sums, 2.0, of, unrolls_per_pass)
  assert found['count'] == B
  rewards = of.rows.timestep.reward.sum(0)
  np.testing.assert_allclose(
    found['products'], 2.0 * rewards @ of.core_state, atol=1e-5
  )


def test_a_batch_that_passes_do_not_divide_is_rejected():
  with pytest.raises(ValueError, match='unrolls_per_pass=4'):
    gradient_accumulation.accumulate(sums, 2.0, make_trajectory(), 4)
