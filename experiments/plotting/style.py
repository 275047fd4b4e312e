"""Curves over environment frames: their mean over seeds, and their looks."""

from collections.abc import Sequence
import textwrap
from typing import Any
from typing import NamedTuple

import matplotlib
from matplotlib import axes as axes_lib
from matplotlib import figure
from matplotlib import lines
from matplotlib import ticker
import numpy as np

from experiments.plotting import groups as groups_lib

DPI = 120

# Of a legend, about: a letter in inches, and a colour's line in letters.
_LETTER_WIDTH = 0.085
_HANDLE_LETTERS = 8


class Band(NamedTuple):
  """Curves on a grid of frames, `[points]` each; NaN where one is missing."""

  frames: np.ndarray
  mean: np.ndarray
  low: np.ndarray
  high: np.ndarray


def band(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> Band:
  """Mean, least and most of curves `(frames, values)`, at all their frames.

  Between its points a curve is a straight line, beside a gap and beyond its
  ends it is missing; so the band is only where all curves are.
  """
  grid = np.unique(np.concatenate([frames for frames, _ in curves]))
  values = np.stack(
    [np.interp(grid, *curve, left=np.nan, right=np.nan) for curve in curves]
  )
  return Band(grid, values.mean(0), values.min(0), values.max(0))


def draw_line(
  axes: axes_lib.Axes, frames: np.ndarray, values: np.ndarray, **style: Any
) -> None:
  """A line with gaps where values are NaN; a dot for a point between two."""
  (line,) = axes.plot(frames, values, **style)
  there = np.pad(np.isfinite(values), 1)
  alone = there[1:-1] & ~there[:-2] & ~there[2:]
  if alone.any():
    axes.plot(
      frames[alone], values[alone], '.', markersize=3, color=line.get_color()
    )


def set_style(axes: axes_lib.Axes) -> None:
  """A thin grid behind the data, and no frame around it."""
  axes.set_axisbelow(True)
  axes.grid(color='0.9', linewidth=0.6)
  axes.spines[['top', 'right']].set_visible(False)


def set_frames_axis(axes: axes_lib.Axes, most_intervals: int) -> None:
  """Frames as 500k, 20M."""
  axes.xaxis.set_major_locator(
    ticker.MaxNLocator(most_intervals, steps=[1, 2, 5, 10])
  )
  axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=''))


def colors(groups: Sequence[groups_lib.Group]) -> list[Any]:
  """One for each group, the same on every page."""
  if len(groups) <= 10:
    return [f'C{i}' for i in range(len(groups))]
  return list(matplotlib.colormaps['turbo'](np.linspace(0, 1, len(groups))))


def add_legend(
  fig: figure.Figure, groups: Sequence[groups_lib.Group], caption: str = ''
) -> None:
  """What each colour is, above the axes; the page grows by as much."""
  letters = int(fig.get_figwidth() / _LETTER_WIDTH) - _HANDLE_LETTERS
  labels = [textwrap.fill(group.label, letters) for group in groups]
  widest = max(len(line) for label in labels for line in label.splitlines())
  columns = min(len(labels), max(1, letters // (widest + _HANDLE_LETTERS)))
  legend = fig.legend(
    [
      lines.Line2D([], [], color=color, linewidth=2) for color in colors(groups)
    ],
    labels,
    title=_title(groups, caption),
    title_fontproperties={'weight': 'bold'},
    alignment='left',
    loc='outside upper left',
    ncols=columns,
    frameon=False,
  )
  height = legend.get_window_extent().height / fig.dpi
  fig.set_figheight(fig.get_figheight() + height)


def _title(groups: Sequence[groups_lib.Group], caption: str) -> str:
  """The environment, unless the labels name it, and the caption."""
  envs = {group.env for group in groups}
  named = len(groups) == 1 or len(envs) > 1
  return ': '.join(filter(None, ['' if named else envs.pop(), caption]))
