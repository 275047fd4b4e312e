"""Whole trainings on Pong, in turns: ours, and one of plain parts.

python -m benchmarks.end_to_end --json=end_to_end.json

The plain one has Haiku's convolutions on the whole batch at once, EnvPool's own
frame stack, and one actor. Both learn from batches of 32 unrolls of 20.
"""

import contextlib
import dataclasses

from absl import app
from absl import flags
import psutil

from benchmarks import plain
from benchmarks import timing
from experiments import config as config_lib
from experiments import parts
from experiments import stages


def ours(torso: str) -> stages.Setup:
  """The preset's."""
  config = config_lib.from_preset('atari', torso=torso, num_frames=2**53)
  return stages.set_up(config)


def plain_parts(torso: str) -> stages.Setup:
  """The same training of plain parts."""
  config = config_lib.from_preset('atari', torso=torso, num_frames=2**53)
  config = dataclasses.replace(
    config, num_actors=1, unrolls_per_pass=config.batch_size
  )
  worlds = parts.make_worlds(config, stack_num=4)
  return stages.set_up(config, worlds, torso=plain.TORSOS[torso])


def main(_: list[str]) -> None:
  """Compares."""
  values = flags.FLAGS
  readings = {'plain': [], 'ours': []}
  with contextlib.ExitStack() as stack:
    measures = {
      name: stack.enter_context(stages.together(make(values.torso)))
      for name, make in (('plain', plain_parts), ('ours', ours))
    }
    for measure in measures.values():
      measure(1.0)  # Compilation.
    for _ in range(values.rounds):
      for name, measure in measures.items():
        readings[name].append(1 / measure(values.seconds).steps_per_second)
    resident = psutil.Process().memory_info().rss / 2**20
  record = {values.torso: timing.rates(readings, 1)}
  timing.report(record, 'agent steps/s', 'ours', values.json)
  print(f'Resident memory of both: {resident:,.0f} MiB')


if __name__ == '__main__':
  flags.DEFINE_enum('torso', 'shallow', sorted(plain.TORSOS), 'Which network.')
  flags.DEFINE_float('seconds', 8.0, 'Of a training, a round.')
  flags.DEFINE_integer('rounds', 5, 'How many.')
  flags.DEFINE_string('json', '', 'Also stores the figures in this file.')
  app.run(main)
