"""Whole trainings on Pong, in turns: ours, and one of plain parts.

python -m benchmarks.end_to_end --json=end_to_end.json

The plain one has Haiku's convolutions on the whole batch at once, EnvPool's own
frame stack, and one actor. Both learn from batches of 32 unrolls of 20.
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
  """The preset's."""
  config = config_lib.from_preset('atari', torso=torso, num_frames=2**53)
  return setup_lib.make_setup(config)


def plain_parts(torso: str) -> setup_lib.Setup:
  """The same training of plain parts."""
  config = config_lib.from_preset('atari', torso=torso, num_frames=2**53)
  config = dataclasses.replace(
    config, num_actors=1, unrolls_per_pass=config.batch_size
  )
  envs = builders.make_envs(config, stack_num=4)
  agent = builders.make_agent(config, envs[0], torso=plain.TORSOS[torso])
  return setup_lib.make_setup(config, envs=envs, agent=agent)


def main() -> None:
  """Compares."""
  values = flags.FLAGS
  with timing.recording('agent steps/s', 'ours', values.json) as record:
    readings, resident = read(values.torso, values.seconds, values.rounds)
    record[values.torso] = timing.rates(readings, 1)
  print(f'Resident memory of both: {resident:,.0f} MiB')


def read(
  torso: str, seconds: float, rounds: int
) -> tuple[dict[str, list[float]], float]:
  """Seconds for an agent step, round by round; and MiB of memory at the end."""
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
  flags.DEFINE_enum('torso', 'shallow', sorted(plain.TORSOS), 'Which network.')
  flags.DEFINE_float('seconds', 8.0, 'Of a training, a round.', lower_bound=1)
  flags.DEFINE_integer('rounds', 5, 'How many.', lower_bound=1)
  flags.DEFINE_string('json', '', 'Also stores the figures in this file.')
  cli.run(main)
