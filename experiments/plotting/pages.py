"""Whole figures of recorded runs, drawn and saved as PNGs."""

from collections.abc import Sequence
import pathlib

from matplotlib import axes as axes_lib
from matplotlib import figure
import numpy as np

from experiments import config as config_lib
from experiments.plotting import diagnostics_page
from experiments.plotting import groups as groups_lib
from experiments.plotting import runs as runs_lib
from experiments.plotting import style
from experiments.records import atomic_file


def learning_curve(run: runs_lib.Run) -> figure.Figure:
  """Draws returns against frames, those of every interval and their mean."""
  if not run.rows:
    return diagnostics_page.page([])
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
  style.draw_line(
    axes,
    run.frames,
    run.column('mean_return'),
    color='C0',
    label='mean of the last episodes',
  )
  fig.legend(loc='outside upper left', ncols=2, frameon=False)
  return fig


def learning_curves(groups: Sequence[groups_lib.Group]) -> figure.Figure:
  """Mean return of every group, in a band from its worst run to its best."""
  fig, axes = _returns_axes()
  for group, color in zip(groups, style.colors(groups)):
    band = style.band(
      [(run.frames, run.column('mean_return')) for run in group.runs]
    )
    if len(group.runs) > 1:
      axes.fill_between(
        band.frames, band.low, band.high, color=color, alpha=0.2, linewidth=0
      )
    style.draw_line(axes, band.frames, band.mean, color=color)
  banded = any(len(group.runs) > 1 for group in groups)
  style.add_legend(
    fig, groups, 'mean of the seeds, and their range' if banded else ''
  )
  return fig


def draw_learning_curve(logdir: pathlib.Path) -> None:
  """Draws `learning_curve.png` of the run in `logdir`, into it."""
  run = runs_lib.read(logdir)
  _save(learning_curve(run), logdir / 'learning_curve.png')


def draw_diagnostics(logdir: pathlib.Path) -> None:
  """Draws `diagnostics.png` of the run in `logdir`, into it."""
  groups = groups_lib.group([runs_lib.read(logdir)])
  _save(diagnostics_page.page(groups), logdir / 'diagnostics.png')


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
    'diagnostics.png': diagnostics_page.page(groups),
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
  with atomic_file.replacing(png) as path:
    fig.savefig(path, dpi=style.DPI)


def _returns_axes() -> tuple[figure.Figure, axes_lib.Axes]:
  fig = figure.Figure(figsize=(8, 4.2), layout='constrained')
  axes = fig.add_subplot()
  style.set_style(axes)
  style.set_frames_axis(axes, 10)
  axes.set_xlabel('environment frames')
  axes.set_ylabel('episode return')
  return fig, axes
