"""Plots recorded runs: learning curves and training diagnostics.

python -m experiments.plot runs/pong-seed0 runs/pong-seed1
python -m experiments.plot runs --out=figures

Each argument is the log directory of a run, or a folder that is searched for
runs. Runs that differ only in their seed are plotted as one line.
"""

from collections.abc import Sequence
import os

from absl import flags
from matplotlib import figure

from experiments import cli
from experiments import config as config_lib
from experiments.plotting import diagnostics_page
from experiments.plotting import groups as groups_lib
from experiments.plotting import pages
from experiments.plotting import runs as runs_lib


def learning_curve(*folders: str | os.PathLike[str]) -> figure.Figure:
  """Returns the figure of the returns of a run, or the one that compares runs.

  A notebook shows it as an image; `figure.savefig` writes it.

  Args:
    *folders: the log directory of a run; or several, or folders that contain
      log directories.

  Raises:
    ConfigError: if there are no runs to draw.
  """
  runs = _read(folders)
  if len(runs) == 1:
    return pages.learning_curve(runs[0])
  return pages.learning_curves(groups_lib.group(runs))


def diagnostics(*folders: str | os.PathLike[str]) -> figure.Figure:
  """Returns the page of diagnostics of runs; see `learning_curve`."""
  return diagnostics_page.page(groups_lib.group(_read(folders)))


def _read(folders: Sequence[str | os.PathLike[str]]) -> list[runs_lib.Run]:
  return runs_lib.read_all([config_lib.path(folder) for folder in folders])


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
