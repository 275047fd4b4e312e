"""Throughput of training on Pong: ours against plain components, interleaved.

python -m benchmarks.end_to_end --json=end_to_end.json

The plain setup uses Haiku's convolutions without gradient accumulation,
EnvPool's own frame stack, and one actor. Both setups train on batches of 32
unrolls of 20 steps.
"""

import contextlib
import dataclasses

from absl import flags
import psutil

from benchmarks import plain
from benchmarks import timing
from experiments import cli
from experiments import config as config_lib
from experiments.profiling import stages
from experiments.training import builders
from experiments.training import setup as setup_lib


def ours(torso: str) -> setup_lib.Setup:
  """Makes the setup of the preset `atari`."""
  config = config_lib.from_preset('atari', torso=torso, num_frames=2**53)
  return setup_lib.make_setup(config)


def plain_parts(torso: str) -> setup_lib.Setup:
  """Makes the setup of the same training with plain components."""
  config = config_lib.from_preset('atari', torso=torso, num_frames=2**53)
  config = dataclasses.replace(
    config, num_actors=1, unrolls_per_pass=config.batch_size
  )
  envs = builders.make_envs(config, stack_num=4)
  agent = builders.make_agent(config, envs[0], torso=plain.TORSOS[torso])
  return setup_lib.make_setup(config, envs=envs, agent=agent)


def main() -> None:
  """Compares the throughput of both setups."""
  values = flags.FLAGS
  with timing.recording('agent steps/s', 'ours', values.json) as record:
    readings, resident = read(values.torso, values.seconds, values.rounds)
    record[values.torso] = timing.rates(readings, 1)
  print(f'Resident memory of the process with both: {resident:,.0f} MiB')


def read(
  torso: str, seconds: float, rounds: int
) -> tuple[dict[str, list[float]], float]:
  """Measures both setups in interleaved rounds.

  Returns:
    Seconds per agent step in each round, by setup, and the resident memory of
    the process at the end, in MiB.
  """
  readings = {'plain': [], 'ours': []}
  with contextlib.ExitStack() as stack:
    measures = {
      name: stack.enter_context(stages.timing_training(make(torso)))
      for name, make in (('plain', plain_parts), ('ours', ours))
    }
    for measure in measures.values():
      measure(1.0)  # Compilation.
    for _ in range(rounds):
      for name, measure in measures.items():
        readings[name].append(1 / measure(seconds).steps_per_second)
    return readings, psutil.Process().memory_info().rss / 2**20


if __name__ == '__main__':
  flags.DEFINE_enum('torso', 'shallow', sorted(plain.TORSOS), 'Torso to use.')
  flags.DEFINE_float(
    'seconds', 8.0, 'Seconds per setup and round.', lower_bound=1
  )
  flags.DEFINE_integer('rounds', 5, 'Number of rounds.', lower_bound=1)
  flags.DEFINE_string('json', '', 'Also writes the results to this file.')
  cli.run(main)
