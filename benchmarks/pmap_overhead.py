"""The overhead of an update on eight devices instead of one.

python -m benchmarks.pmap_overhead --json=pmap_overhead.json

The devices are virtual and share the same cores, so the work is the same. Any
additional time is the overhead of `pmap`, of the sum over devices and of
smaller batches per device.
"""

import os

os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=8'

# pylint: disable=g-import-not-at-top
from absl import flags
import jax

from benchmarks import learner_update
from benchmarks import timing
from experiments import cli
from experiments import config as config_lib


def main() -> None:
  """Compares one device with eight for each torso."""
  devices = jax.local_devices()
  with timing.recording('updates/s', '8 devices', flags.FLAGS.json) as record:
    for torso, num_stacked in (('mlp', 1), ('shallow', 4)):
      config = config_lib.from_preset('atari', torso=torso)
      calls = {
        name: learner_update.make_ours(config, some, num_stacked=num_stacked)
        for name, some in (('1 device', devices[:1]), ('8 devices', devices))
      }
      seconds = timing.interleave(calls, rounds=31)
      record[torso] = timing.rates(seconds, 1)


if __name__ == '__main__':
  flags.DEFINE_string('json', '', 'Also writes the results to this file.')
  cli.run(main)
