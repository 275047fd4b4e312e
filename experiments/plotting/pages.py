"""Complete figures of recorded runs, drawn and saved as PNG files."""

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
  """Draws returns against frames: per row of metrics.csv, and their mean."""
  if not run.rows:
    return diagnostics_page.page([])
  fig, axes = _returns_axes()
  ended = run.column('episode_return')
  valid = np.isfinite(ended)  # Rows without a finished episode leave no gap.
  axes.plot(
    run.frames[valid],
    ended[valid],
    color='C0',
    alpha=0.3,
    label='episodes since the last row',
  )
  style.draw_line(
    axes,
    run.frames,
    run.column('mean_return'),
    color='C0',
    label='mean of recent episodes',
  )
  fig.legend(loc='outside upper left', ncols=2, frameon=False)
  return fig


def learning_curves(groups: Sequence[groups_lib.Group]) -> figure.Figure:
  """Draws each group's mean return, with a band from its worst to best run."""
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
  caption = 'mean and range over seeds' if banded else ''
  style.add_legend(fig, groups, caption + groups_lib.uneven_note(groups))
  return fig


def draw_learning_curve(logdir: pathlib.Path) -> None:
  """Writes `learning_curve.png` of the run in `logdir` into `logdir`."""
  run = runs_lib.read(logdir)
  _save(learning_curve(run), logdir / 'learning_curve.png')


def draw_diagnostics(logdir: pathlib.Path) -> None:
  """Writes `diagnostics.png` of the run in `logdir` into `logdir`."""
  groups = groups_lib.group([runs_lib.read(logdir)])
  _save(diagnostics_page.page(groups), logdir / 'diagnostics.png')


def draw(
  folders: Sequence[pathlib.Path], out: pathlib.Path
) -> list[pathlib.Path]:
  """Writes both figures of all runs in `folders`; returns the PNG paths.

  Args:
    folders: log directories, or folders that contain log directories.
    out: the folder to write to; it is created if missing.

  Raises:
    ConfigError: if there are no runs to draw or `out` cannot be written.
      Missing or unreadable runs are reported before anything is written.
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
  fig = style.Figure(figsize=(8, 4.2), layout='constrained')
  axes = fig.add_subplot()
  style.set_style(axes)
  style.set_frames_axis(axes, 10)
  axes.set_xlabel('environment frames')
  axes.set_ylabel('episode return')
  return fig, axes
