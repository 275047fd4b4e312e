"""Speed of the V-trace targets: ours against rlax and an associative scan.

python -m benchmarks.vtrace_targets --json=vtrace_targets.json

rlax's function is vmapped over the batch. The associative scan takes a number
of steps that is logarithmic in T, each over all time steps; on other hardware
than a CPU it may be faster.
"""

from collections.abc import Callable
import itertools
from typing import Any
from unittest import mock

from absl import flags
import jax
import numpy as np

from benchmarks import timing
from experiments import cli
from experiments import config as config_lib
import vtrace

_LENGTHS, _BATCHES = (20, 100, 1000), (32, 256)


def rlax_targets(log_rhos, discounts, rewards, values, bootstrap_value):
  """Computes the targets with rlax, which takes rho and the values at t + 1.

  Raises:
    ConfigError: if rlax is not installed.
  """
  try:
    import rlax  # pylint: disable=g-import-not-at-top
  except ImportError as error:
    raise config_lib.ConfigError(
      f'rlax (extra `benchmarks`) is not installed: {error}.'
    ) from error
  next_values = jax.numpy.concatenate([values[1:], bootstrap_value[None]])
  return jax.vmap(rlax.vtrace_td_error_and_advantage, in_axes=1, out_axes=1)(
    values, next_values, rewards, discounts, jax.numpy.exp(log_rhos)
  )


def associative_targets(log_rhos, discounts, rewards, values, bootstrap_value):
  """Computes the targets with `jax.lax.associative_scan` as the recursion."""

  def discounted_sum(xs, discounts):
    def join(later, earlier):
      (x, discount), (y, factor) = later, earlier
      return y + factor * x, factor * discount

    return jax.lax.associative_scan(join, (xs, discounts), reverse=True)[0]

  with mock.patch.object(vtrace.targets, '_discounted_sum', discounted_sum):
    return vtrace.from_importance_weights(
      log_rhos, discounts, rewards, values, bootstrap_value
    )


def arguments(length: int, batch: int) -> list[jax.Array]:
  """Returns random arguments of `from_importance_weights`."""
  rng = np.random.default_rng(0)
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
  log_rhos, rewards, values = (draw(length, batch) for _ in range(3))
  discounts = np.full((length, batch), 0.99, np.float32)
  return jax.device_put([log_rhos, discounts, rewards, values, draw(batch)])


def check_equal(inputs: list[jax.Array]) -> None:
  """Raises AssertionError unless all three implementations agree."""
  expected = vtrace.from_importance_weights(*inputs)
  associative = associative_targets(*inputs)
  np.testing.assert_allclose(associative.vs, expected.vs, rtol=1e-4, atol=1e-4)
  advantages = rlax_targets(*inputs).pg_advantage
  np.testing.assert_allclose(
    advantages, expected.pg_advantages, rtol=1e-4, atol=1e-4
  )


def calling(
  function: Callable[..., Any], inputs: list[jax.Array], times: int
) -> Callable[[], Any]:
  """Makes a call that runs the compiled function `times` times."""
  function = jax.jit(function)

  def call():
    for _ in range(times):
      jax.block_until_ready(function(*inputs))

  return call


def main() -> None:
  """Compares the implementations for each shape."""
  check_equal(arguments(20, 32))
  with timing.recording('calls/s', 'ours', flags.FLAGS.json) as record:
    for length, batch in itertools.product(_LENGTHS, _BATCHES):
      inputs = arguments(length, batch)
      times = 20_000 // length
      calls = {
        'rlax': calling(rlax_targets, inputs, times),
        'associative': calling(associative_targets, inputs, times),
        'ours': calling(vtrace.from_importance_weights, inputs, times),
      }
      seconds = timing.interleave(calls, rounds=21)
      record[f'T={length}, B={batch}'] = timing.rates(seconds, times)


if __name__ == '__main__':
  flags.DEFINE_string('json', '', 'Also writes the results to this file.')
  cli.run(main)
