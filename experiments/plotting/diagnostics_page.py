"""A figure of the off-policy learning diagnostics, as small multiples.

Each quantity has a panel and each group of runs has a colour. A quantity that
no run recorded, for example because of an older version, has no panel.
"""

from collections.abc import Callable
from collections.abc import Sequence
import functools
from typing import Any
from typing import NamedTuple

from matplotlib import axes as axes_lib
from matplotlib import figure
from matplotlib import ticker
import numpy as np

from experiments.plotting import groups as groups_lib
from experiments.plotting import runs as runs_lib
from experiments.plotting import style
import vtrace

_MAX_COLUMNS = 4

Axes = axes_lib.Axes


def page(
  groups: Sequence[groups_lib.Group], columns: Sequence[str] | None = None
) -> figure.Figure:
  """Draws every panel of `PANELS` for which at least one run has values.

  Args:
    groups: the runs.
    columns: the columns of metrics.csv whose panels are drawn. None: all.
  """
  runs = [run for group in groups for run in group.runs]
  panels = [
    panel
    for panel in PANELS
    if (columns is None or panel.column in columns)
    and any(run.has(panel.column) for run in runs)
  ]
  width = min(_MAX_COLUMNS, max(1, int(np.ceil(len(panels) ** 0.5))))
  num_rows = max(1, -(-len(panels) // width))
  fig = style.Figure(
    figsize=(3.4 * width, 2.2 * num_rows), layout='constrained'
  )
  grid = fig.add_gridspec(num_rows, width)
  for i, panel in enumerate(panels):
    axes = fig.add_subplot(grid[i // width, i % width])
    _draw(axes, panel, groups)
    if i + width >= len(panels) and not panel.xlabel:
      axes.set_xlabel('environment frames', fontsize='small')
  if panels:
    note = groups_lib.uneven_note(groups)
    style.add_legend(fig, groups, f'mean over seeds{note}' if note else '')
  else:
    fig.text(0.5, 0.5, 'no metrics yet', ha='center')
  return fig


def _draw(
  axes: Axes, panel: 'Panel', groups: Sequence[groups_lib.Group]
) -> None:
  axes.set_title(panel.title, fontsize='medium')
  axes.tick_params(labelsize='small')
  style.set_style(axes)
  for group, color in zip(groups, style.colors(groups)):
    runs = [run for run in group.runs if run.has(panel.column)]
    if runs:
      panel.draw(axes, runs, panel.column, color)
  if panel.xlabel:
    axes.set_xlabel(panel.xlabel, fontsize='small')
  else:
    style.set_frames_axis(axes, 5)
  panel.look(axes)


def _mean(
  axes: Axes,
  runs: Sequence[runs_lib.Run],
  column: str,
  color: Any,
  values: Callable[[runs_lib.Run, str], np.ndarray] = runs_lib.Run.column,
) -> None:
  """Draws the mean of a column over the runs."""
  band = style.band([(run.frames, values(run, column)) for run in runs])
  style.draw_line(axes, band.frames, band.mean, color=color, linewidth=1.1)


def _share_of_time(run: runs_lib.Run, column: str) -> np.ndarray:
  """Returns a column of seconds as fractions of each row's interval, [rows]."""
  seconds = np.diff(run.column('seconds'), prepend=0.0)
  return run.column(column) / np.where(seconds > 0.0, seconds, np.nan)


def _distribution(
  axes: Axes,
  runs: Sequence[runs_lib.Run],
  column: str,
  color: Any,
  edges: Callable[[int], np.ndarray],
) -> None:
  """Draws a histogram column, summed over rows and runs, as fractions."""
  histograms = [run.histogram(column) for run in runs]
  sums = np.zeros(max(map(len, histograms)))
  for histogram in histograms:
    sums[: len(histogram)] += histogram
  shares = sums / max(sums.sum(), 1.0)
  bin_edges = edges(len(sums))
  axes.stairs(shares, bin_edges, color=color, fill=True, alpha=0.1, linewidth=0)
  axes.stairs(shares, bin_edges, color=color, linewidth=1.1)


def _lag_edges(num_bins: int) -> np.ndarray:
  """Returns bin edges around the integers from 0, [bins + 1]."""
  return np.arange(num_bins + 1) - 0.5


def _log_rho_edges(num_bins: int) -> np.ndarray:
  """Returns `vtrace.LOG_RHO_EDGES` with one overflow bin at each end."""
  del num_bins
  first, second, *_, last = vtrace.LOG_RHO_EDGES
  width = second - first
  return np.array([first - width, *vtrace.LOG_RHO_EDGES, last + width])


def _plain(axes: Axes) -> None:
  """Keeps the default look of matplotlib."""


def _from_zero(axes: Axes) -> None:
  """Starts the y-axis at 0, with margins so that lines at its ends show."""
  highest = max(axes.dataLim.y1, 0.0) or 1.0
  axes.set_ylim(-0.03 * highest, 1.06 * highest)


def _thousands(axes: Axes) -> None:
  axes.yaxis.set_major_formatter(ticker.EngFormatter(sep=''))
  _from_zero(axes)


def _percent(axes: Axes) -> None:
  axes.yaxis.set_major_formatter(lambda share, _: f'{100 * share:.6g}%')


def _percent_from_zero(axes: Axes) -> None:
  _percent(axes)
  _from_zero(axes)


def _signed(axes: Axes) -> None:
  axes.axhline(0.0, color='0.6', linewidth=0.8, zorder=1)


def _explained(axes: Axes) -> None:
  """Clips the y-axis at -1; lower explained variance carries no information."""
  axes.set_ylim(max(-1.0, axes.get_ylim()[0]), 1.05)
  _signed(axes)


def _log(axes: Axes) -> None:
  """Sets a log scale; adds ticks between powers of ten if there are few."""
  if not _set_log_scale(axes, nonpositive='mask'):
    return
  low, high = axes.get_ylim()
  decades = np.log10(high / low)
  subs = (1, 1.5, 2, 3, 5, 7) if decades < 1 else (1, 2, 5)
  axes.yaxis.set_major_locator(
    ticker.LogLocator(subs=subs if decades < 2 else (1,))
  )
  axes.yaxis.set_major_formatter('{x:g}')
  axes.yaxis.set_minor_formatter(ticker.NullFormatter())


def _set_log_scale(axes: Axes, nonpositive: str) -> bool:
  """Sets a log scale if the axes hold positive data; returns whether it did."""
  possible = bool(np.isfinite(axes.dataLim.minposy))
  if possible:
    axes.set_yscale('log', nonpositive=nonpositive)
  return possible


def _lags(axes: Axes) -> None:
  axes.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
  _percent_from_zero(axes)


def _log_rhos(axes: Axes) -> None:
  """Sets a log scale, which makes the tails of the distribution visible."""
  _set_log_scale(axes, nonpositive='clip')
  _percent(axes)
  axes.set_xticks([-2, -1, 0, 1, 2])


class Panel(NamedTuple):
  """A column of metrics.csv and how it is drawn."""

  title: str
  column: str
  look: Callable[[Axes], None] = _plain  # Scale and ticks of the axes.
  draw: Callable[..., None] = _mean
  xlabel: str = ''  # Empty: environment frames.


PANELS = (
  Panel('mean return', 'mean_return'),
  Panel('mean policy lag (updates)', 'policy_lag', _from_zero),
  Panel(
    'policy lag histogram',
    'policy_lag_histogram',
    _lags,
    functools.partial(_distribution, edges=_lag_edges),
    'policy lag (updates)',
  ),
  Panel('frames per second', 'frames_per_second', _thousands),
  Panel('mean log importance weight', 'log_rho', _signed),
  Panel(
    'log importance weight histogram',
    'log_rho_histogram',
    _log_rhos,
    functools.partial(_distribution, edges=_log_rho_edges),
    'log weight (outer bins: overflow)',
  ),
  Panel('weights clipped at rho_bar', 'rho_clipped', _percent_from_zero),
  Panel('weights clipped at c_bar', 'c_clipped', _percent_from_zero),
  Panel('effective sample size', 'effective_sample_size', _percent),
  Panel('KL(behaviour || learner)', 'kl', _from_zero),
  Panel('explained variance', 'explained_variance', _explained),
  Panel('entropy', 'entropy'),
  Panel('gradient norm', 'grad_norm', _log),
  Panel('update norm', 'update_norm', _log),
  Panel(
    'learner wait time (% of time)',
    'learner_wait_seconds',
    _percent_from_zero,
    functools.partial(_mean, values=_share_of_time),
  ),
  Panel(
    'actor wait time (% of time)',
    'actor_wait_seconds',
    _percent_from_zero,
    functools.partial(_mean, values=_share_of_time),
  ),
)
