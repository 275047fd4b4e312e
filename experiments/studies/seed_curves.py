"""Learning curves over seeds, with confidence intervals of the mean."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib import figure
import numpy as np

from experiments.plotting import groups as groups_lib
from experiments.plotting import runs as runs_lib
from experiments.plotting import style
from experiments.studies import confidence


class Curve(NamedTuple):
  """A mean over seeds, with its 95% confidence interval at every point."""

  frames: np.ndarray  # [points]
  mean: np.ndarray  # [points]
  low: np.ndarray  # [points]; NaN if there is a single run.
  high: np.ndarray  # [points]


def curve(runs: Sequence[runs_lib.Run], column: str = 'mean_return') -> Curve:
  """Computes the mean of a column over runs, where all runs have rows.

  Runs are interpolated linearly. The intervals are Student's t intervals, each
  for its own point: a whole curve may leave them more often than in 5% of
  cases.

  Args:
    runs: runs that differ in their seeds only.
    column: a column of metrics.csv.
  """
  first = max(run.frames[0] for run in runs)
  last = min(run.frames[-1] for run in runs)
  grid = np.unique(np.concatenate([run.frames for run in runs]))
  grid = grid[(grid >= first) & (grid <= last)]
  values = [np.interp(grid, run.frames, run.column(column)) for run in runs]
  estimates = [confidence.mean(point) for point in np.transpose(values)]
  mean, low, high = np.reshape([tuple(e) for e in estimates], [-1, 3]).T
  single = len(runs) == 1
  return Curve(
    grid,
    mean,
    *(np.full_like(mean, np.nan) if single else x for x in (low, high)),
  )


def learning_curves(
  groups: Sequence[groups_lib.Group], column: str = 'mean_return'
) -> figure.Figure:
  """Draws every group's mean and interval; thin lines are the runs."""
  fig = style.Figure(figsize=(8, 4.2), layout='constrained')
  axes = fig.add_subplot()
  for group, color in zip(groups, style.colors(groups)):
    for run in group.runs:
      axes.plot(
        run.frames, run.column(column), color=color, alpha=0.3, linewidth=0.7
      )
    frames, mean, low, high = curve(group.runs, column)
    axes.fill_between(frames, low, high, color=color, alpha=0.2, linewidth=0)
    style.draw_line(axes, frames, mean, color=color, linewidth=2)
  style.set_style(axes)
  style.set_frames_axis(axes, 10)
  axes.set_xlabel('environment frames')
  axes.set_ylabel(column.replace('_', ' '))
  style.add_legend(fig, groups, 'mean, 95% interval and runs')
  return fig
