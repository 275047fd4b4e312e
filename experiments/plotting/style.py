"""Curves over environment frames: statistics over seeds, and plot style."""

from collections.abc import Sequence
import io
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

# Approximate sizes in a legend, used to wrap labels and choose its columns.
_LETTER_WIDTH = 0.085  # Inches.
_HANDLE_LETTERS = 8  # Width of the colour sample, in letters.


class Figure(figure.Figure):
  """A figure outside pyplot, which a notebook shows as an image.

  Pyplot would keep it alive, and its state is the user's.
  """

  def _repr_png_(self) -> bytes:
    """Returns the image for IPython."""
    png = io.BytesIO()
    self.savefig(png, format='png', dpi=DPI)
    return png.getvalue()


class Band(NamedTuple):
  """Statistics of curves on a grid of frames; NaN where a curve is missing."""

  frames: np.ndarray  # [points]
  mean: np.ndarray  # [points], over the curves that are not missing.
  low: np.ndarray  # [points], the minimum.
  high: np.ndarray  # [points], the maximum.


def band(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> Band:
  """Computes mean, minimum and maximum of curves at all of their frames.

  Curves are interpolated linearly. Before the first number of a curve and after
  its last, the statistics are those of the other curves. Next to a NaN between
  two numbers of a curve they are NaN.

  Args:
    curves: pairs `(frames, values)`, each array `[points of the curve]`.
  """
  grid = np.unique(np.concatenate([frames for frames, _ in curves]))
  values = np.stack(
    [np.interp(grid, *curve, left=np.nan, right=np.nan) for curve in curves]
  )
  known = np.ma.masked_array(values, [_outside(grid, *c) for c in curves])
  statistics = known.mean(0), known.min(0), known.max(0)
  return Band(grid, *(np.ma.filled(x, np.nan) for x in statistics))


def _outside(
  grid: np.ndarray, frames: np.ndarray, values: np.ndarray
) -> np.ndarray:
  """Returns where a curve has not begun or has ended, bool `[points]`."""
  with_number = frames[np.isfinite(values)]
  if not len(with_number):
    return np.ones(len(grid), bool)
  return (grid < with_number[0]) | (grid > with_number[-1])


def draw_line(
  axes: axes_lib.Axes, frames: np.ndarray, values: np.ndarray, **style: Any
) -> None:
  """Draws a line with gaps at NaNs; a point between two gaps becomes a dot."""
  (line,) = axes.plot(frames, values, **style)
  valid = np.pad(np.isfinite(values), 1)
  isolated = valid[1:-1] & ~valid[:-2] & ~valid[2:]
  if isolated.any():
    axes.plot(
      frames[isolated],
      values[isolated],
      '.',
      markersize=3,
      color=line.get_color(),
    )


def set_style(axes: axes_lib.Axes) -> None:
  """Draws a thin grid behind the data; removes the top and right spines."""
  axes.set_axisbelow(True)
  axes.grid(color='0.9', linewidth=0.6)
  axes.spines[['top', 'right']].set_visible(False)


def set_frames_axis(axes: axes_lib.Axes, max_intervals: int) -> None:
  """Formats ticks of the x-axis as 500k, 20M; sets their maximum number."""
  axes.xaxis.set_major_locator(
    ticker.MaxNLocator(max_intervals, steps=[1, 2, 5, 10])
  )
  axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=''))


def colors(groups: Sequence[groups_lib.Group]) -> list[Any]:
  """Returns one colour per group, the same in every figure."""
  if len(groups) <= 10:
    return [f'C{i}' for i in range(len(groups))]
  return list(matplotlib.colormaps['turbo'](np.linspace(0, 1, len(groups))))


def add_legend(
  fig: figure.Figure, groups: Sequence[groups_lib.Group], caption: str = ''
) -> None:
  """Adds a legend of the groups above the axes; enlarges the figure for it."""
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
  """Returns the environment, unless the labels name it, and the caption."""
  envs = {group.env for group in groups}
  named = len(groups) == 1 or len(envs) > 1
  return ': '.join(filter(None, ['' if named else envs.pop(), caption]))
