"""Draws recorded runs: learning curves, and diagnostics of their learning.

python -m experiments.plot runs/pong-seed0 runs/pong-seed1
python -m experiments.plot runs --out=figures

Runs that differ in seed alone are one line. DIR is a run, or a folder with runs
somewhere inside.
"""

from collections.abc import Sequence

from absl import flags

from experiments import cli
from experiments import config as config_lib
from experiments.plotting import pages


def main(arguments: Sequence[str]) -> None:
  """Draws the runs that the arguments name."""
  folders = [config_lib.path(name) for name in arguments]
  for path in pages.draw(folders, config_lib.path(flags.FLAGS.out)):
    print(path)


if __name__ == '__main__':
  flags.DEFINE_string('out', '.', 'Folder for the PNGs; made if it is missing.')
  cli.run(main, takes_arguments=True)
