"""Plots recorded runs: learning curves and training diagnostics.

python -m experiments.plot runs/pong-seed0 runs/pong-seed1
python -m experiments.plot runs --out=figures

Each argument is the log directory of a run, or a folder that is searched for
runs. Runs that differ only in their seed are plotted as one line.
"""

from collections.abc import Sequence

from absl import flags

from experiments import cli
from experiments import config as config_lib
from experiments.plotting import pages


def main(arguments: Sequence[str]) -> None:
  """Plots the runs in the folders `arguments`; prints the paths of the PNGs."""
  folders = [config_lib.path(name) for name in arguments]
  for path in pages.draw(folders, config_lib.path(flags.FLAGS.out)):
    print(path)


if __name__ == '__main__':
  flags.DEFINE_string(
    'out', '.', 'Output folder of the PNG files; created if missing.'
  )
  cli.run(main, takes_arguments=True)
