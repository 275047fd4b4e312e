"""Draws recorded runs: learning curves, and diagnostics of their learning.

python -m experiments.plot runs/pong-seed0 runs/pong-seed1
python -m experiments.plot runs --out=figures

Runs that differ in seed alone are one line. DIR is a run, or a folder with runs
somewhere inside.
"""

from collections.abc import Sequence
import pathlib

from absl import flags
from matplotlib import axes as axes_lib
from matplotlib import figure
import numpy as np

from experiments import atomic
from experiments import config as config_lib
from experiments import curves
from experiments import groups as groups_lib
from experiments import launch
from experiments import panels
from experiments import runs as runs_lib


def learning_curve(metrics_csv: pathlib.Path, png: pathlib.Path) -> None:
  """Draws return against environment frames from one run's metrics.csv."""
  rows = runs_lib.read_rows(metrics_csv)
  run = runs_lib.Run(metrics_csv.parent, {}, rows)
  if not rows:
    _save(panels.page([]), png)
    return
  fig, axes = _returns_axes()
  ended = run.column('episode_return')
  there = np.isfinite(ended)  # The faint line runs on over rows without an end.
  axes.plot(
    run.frames[there],
    ended[there],
    color='C0',
    alpha=0.3,
    label='episodes since last row',
  )
  curves.draw_line(
    axes,
    run.frames,
    run.column('mean_return'),
    color='C0',
    label='mean of the last episodes',
  )
  fig.legend(loc='outside upper left', ncols=2, frameon=False)
  _save(fig, png)


def learning_curves(groups: Sequence[groups_lib.Group]) -> figure.Figure:
  """Mean return of every group, in a band from its worst run to its best."""
  fig, axes = _returns_axes()
  for group, color in zip(groups, curves.colors(groups)):
    band = curves.band(
      [(run.frames, run.column('mean_return')) for run in group.runs]
    )
    if len(group.runs) > 1:
      axes.fill_between(
        band.frames, band.low, band.high, color=color, alpha=0.2, linewidth=0
      )
    curves.draw_line(axes, band.frames, band.mean, color=color)
  banded = any(len(group.runs) > 1 for group in groups)
  curves.add_legend(
    fig, groups, 'mean of the seeds, and their range' if banded else ''
  )
  return fig


def diagnostics(logdirs: Sequence[pathlib.Path], png: pathlib.Path) -> None:
  """Draws the page of diagnostics of the runs in `logdirs`."""
  groups = groups_lib.group([runs_lib.read(logdir) for logdir in logdirs])
  _save(panels.page(groups), png)


def draw(
  folders: Sequence[pathlib.Path], out: pathlib.Path
) -> list[pathlib.Path]:
  """Draws both pages of all runs in `folders`; gives the paths of the PNGs.

  Raises:
    ConfigError: before anything is written, if there is nothing to draw, or
      nowhere to.
  """
  groups = groups_lib.group(runs_lib.read_all(folders))
  figures = {
    'learning_curves.png': learning_curves(groups),
    'diagnostics.png': panels.page(groups),
  }
  try:
    out.mkdir(parents=True, exist_ok=True)
    for name, fig in figures.items():
      _save(fig, out / name)
  except OSError as error:
    raise config_lib.ConfigError(
      f'Cannot write to --out={out}: {error.strerror}.'
    ) from error
  return [out / name for name in figures]


def _save(fig: figure.Figure, png: pathlib.Path) -> None:
  with atomic.replacing(png) as path:
    fig.savefig(path, dpi=curves.DPI)


def _returns_axes() -> tuple[figure.Figure, axes_lib.Axes]:
  fig = figure.Figure(figsize=(8, 4.2), layout='constrained')
  axes = fig.add_subplot()
  curves.set_style(axes)
  curves.set_frames_axis(axes, 10)
  axes.set_xlabel('environment frames')
  axes.set_ylabel('episode return')
  return fig, axes


def main(arguments: Sequence[str]) -> None:
  """Draws the runs that the arguments name."""
  folders = [config_lib.path(name) for name in arguments]
  for path in draw(folders, config_lib.path(flags.FLAGS.out)):
    print(path)


if __name__ == '__main__':
  flags.DEFINE_string('out', '.', 'Folder for the PNGs; made if it is missing.')
  launch.run(main, takes_arguments=True)
