"""Speed of the learner's update: ours against plain Haiku and PyTorch.

python -m benchmarks.learner_update --json=learner_update.json

Ours and the plain update are the whole update of `learner.make_update`, on
frames that the agent stacks. The plain one uses Haiku's convolution and
max-pooling, without gradient accumulation. PyTorch (channels last) runs only
the forward and backward pass of the same network, on frames that are already
stacked. Its loss has policy, value and entropy terms, without V-trace; there is
no optimizer. It needs the extra `benchmarks`. PyTorch is measured on CPU, so it
is skipped if JAX uses an accelerator.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
from typing import Any

from absl import flags
import dm_env
import jax
import numpy as np

from agents import agent as agent_lib
from agents import batcher
from agents import learner
from agents import trajectory
from benchmarks import plain
from benchmarks import timing
from experiments import cli
from experiments import config as config_lib
from experiments.records import hardware
from experiments.training import builders

_ACTIONS, _SIZE, _STACK = 6, 84, 4


def make_ours(
  config: config_lib.Config,
  devices: Sequence[jax.Device] | None = None,
  **settings: Any,
) -> Callable[[], Any]:
  """Makes a call that runs our update on a batch of random frames.

  Args:
    config: the config of the run.
    devices: devices that share the batch; by default the first local device.
    **settings: arguments of `agent_lib.make_agent` that replace the defaults.
  """
  agent = agent_lib.make_agent(
    dm_env.specs.Array((_SIZE, _SIZE, 1), np.uint8),
    dm_env.specs.DiscreteArray(_ACTIONS),
    **(dict(torso=config.torso, use_lstm=False, num_stacked=_STACK) | settings),
  )
  devices = devices or jax.local_devices()[:1]
  optimizer = builders.make_optimizer(config)
  update = learner.parallelize(
    builders.make_update(config, agent, optimizer), devices
  )
  state = learner.init(agent, optimizer, jax.random.key(0), devices)
  batch = batcher.shard([random_batch(config, agent)], len(devices))
  batch = learner.place(batch, devices)
  return lambda: jax.block_until_ready(update(state, batch, 1e-4))


def make_plain(config: config_lib.Config) -> Callable[[], Any]:
  """Makes the same call with Haiku's layers, without gradient accumulation."""
  config = dataclasses.replace(config, unrolls_per_pass=config.batch_size)
  return make_ours(config, torso=plain.TORSOS[config.torso])


def random_batch(
  config: config_lib.Config, agent: agent_lib.Agent
) -> trajectory.Trajectory:
  """Returns a random batch in which no episode ends."""
  rng = np.random.default_rng(0)
  shape = config.unroll_length + 1, config.batch_size
  timestep = dm_env.TimeStep(
    np.full(shape, dm_env.StepType.MID, np.int32),
    rng.normal(size=shape).astype(np.float32),
    np.ones(shape, np.float32),
    rng.integers(256, size=(*shape, _SIZE, _SIZE, 1), dtype=np.uint8),
  )
  rows = trajectory.Row(
    timestep,
    rng.integers(_ACTIONS, size=shape, dtype=np.int32),
    np.full(shape, -np.log(_ACTIONS), np.float32),
  )
  core_state = agent.initial_state(config.batch_size)
  return trajectory.Trajectory(rows, core_state)


def make_torch(config: config_lib.Config) -> Callable[[], Any]:
  """Makes a call of PyTorch's forward and backward pass, for the same T and B.

  Raises:
    ConfigError: if PyTorch is not installed.
  """
  try:
    import torch  # pylint: disable=g-import-not-at-top
  except ImportError as error:
    raise config_lib.ConfigError(
      f'PyTorch (extra `benchmarks`) is not installed: {error}.'
    ) from error
  from benchmarks import torch_network  # pylint: disable=g-import-not-at-top

  torch.set_num_threads(hardware.num_cores())
  return torch_network.make_gradient(
    config.torso,
    num_observations=(config.unroll_length + 1) * config.batch_size,
    num_actions=_ACTIONS,
  )


def check_equal(one: Any, other: Any) -> None:
  """Raises AssertionError unless two updates have equal loss and norms."""
  for name in ('loss', 'grad_norm', 'update_norm'):
    values = [metrics[name] for _, metrics in (one, other)]
    np.testing.assert_allclose(*values, rtol=1e-3, err_msg=name)


def main() -> None:
  """Compares the updates for each torso."""
  values = flags.FLAGS
  makers = {'plain': make_plain, 'ours': make_ours}
  if jax.default_backend() == 'cpu':
    makers['torch'] = make_torch
  with timing.recording('observations/s', 'ours', values.json) as record:
    for torso in values.torsos:
      config = config_lib.from_preset('atari', torso=torso)
      calls = {name: make(config) for name, make in makers.items()}
      check_equal(calls['plain'](), calls['ours']())
      seconds = timing.interleave(calls, values.rounds, pause=0.5)
      observations = (config.unroll_length + 1) * config.batch_size
      record[torso] = timing.rates(seconds, observations)


if __name__ == '__main__':
  flags.DEFINE_multi_enum(
    'torsos',
    sorted(plain.TORSOS)[::-1],
    sorted(plain.TORSOS),
    'Torsos to compare.',
  )
  flags.DEFINE_integer('rounds', 11, 'Number of rounds.', lower_bound=1)
  flags.DEFINE_string('json', '', 'Also writes the results to this file.')
  cli.run(main)
