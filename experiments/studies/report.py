"""The results of an ablation as tables and figures like the paper's.

`ablation.md` holds table 2 and the values of figure E.1, `results.csv` holds
every run, `stability.png` is figure 4 and `lag.png` is figure E.1.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import csv
import io
import pathlib
from typing import Any

from matplotlib import axes as axes_lib
from matplotlib import figure
import numpy as np

from experiments.plotting import style
from experiments.records import atomic_file
from experiments.studies import confidence
from experiments.studies import design as design_lib
from vtrace import corrections

_SAMPLED = ('learning_rate', 'entropy_cost', 'rmsprop_epsilon')
_PANEL = (3.2, 2.8)  # Inches.


def write(results: Sequence[confidence.Result], folder: pathlib.Path) -> None:
  """Writes all tables and figures into `folder`; missing runs are omitted."""
  texts = {'results.csv': table_of_runs(results), 'ablation.md': page(results)}
  for name, text in texts.items():
    with atomic_file.replacing(folder / name) as file:
      file.write_text(text)
  for name, draw in (('stability.png', stability), ('lag.png', lags)):
    with atomic_file.replacing(folder / name) as file:
      draw(results).savefig(file, dpi=style.DPI)


def table_of_runs(results: Sequence[confidence.Result]) -> str:
  """Returns a table with one row per run, as CSV."""
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  fields = design_lib.Trial._fields[:-1]
  writer.writerow([*fields, *_SAMPLED, 'num_frames', 'final_return'])
  for trial, final in sorted(results, key=lambda result: result[0].name):
    values = [getattr(trial.config, name) for name in _SAMPLED]
    values = [f'{value:.6g}' for value in values]
    writer.writerow(
      [*trial[:-1], *values, trial.config.num_frames, f'{final:.6g}']
    )
  return text.getvalue()


def page(results: Sequence[confidence.Result]) -> str:
  """Returns the tables of table 2 and figure E.1, as Markdown."""
  lines = [
    '## Best three hyperparameter samples',
    '',
    'Mean final return of the best three hyperparameter samples, with 95% '
    'bootstrap intervals (compare table 2 of the paper).',
    '',
    *_markdown(_best_rows(results)),
    '',
    '![Final returns of all hyperparameter samples](stability.png)',
    '',
    '## Policy lag',
    '',
    'Mean final return over seeds, with 95% confidence intervals (compare '
    'figure E.1 of the paper).',
    '',
    *_markdown(_lag_rows(results)),
    '',
    '![Final return against policy lag](lag.png)',
  ]
  return '\n'.join(lines) + '\n'


def stability(results: Sequence[confidence.Result]) -> figure.Figure:
  """Draws final returns of all samples in decreasing order, as figure 4."""
  sampled = [r for r in results if design_lib.is_sampled(r[0])]
  tasks, rows = _distinct(sampled, 'task'), _distinct(sampled, 'has_replay')
  fig, panels = _panels(len(rows), len(tasks))
  for row, has_replay in zip(panels, rows):
    for axes, task in zip(row, tasks):
      for i, correction in enumerate(_corrections(sampled)):
        finals = _finals(
          sampled, task=task, has_replay=has_replay, correction=correction
        )
        ranks = np.arange(1, len(finals) + 1)
        axes.plot(ranks, sorted(finals)[::-1], '.-', color=f'C{i}')
      replay = ', replay' if has_replay else ''
      _label_axes(axes, f'{task}{replay}', 'hyperparameter sample, best first')
  _add_legend(fig, _corrections(sampled))
  return fig


def lags(results: Sequence[confidence.Result]) -> figure.Figure:
  """Draws final return against policy lag with intervals, as figure E.1."""
  lagged = [r for r in results if not design_lib.is_sampled(r[0])]
  tasks, all_lags = _distinct(lagged, 'task'), _distinct(lagged, 'lag')
  compared = _corrections(lagged)
  fig, panels = _panels(1, len(tasks))
  for axes, task in zip(panels[0], tasks):
    for i, correction in enumerate(compared):
      points = [
        confidence.mean(finals)
        for lag in all_lags
        if (
          finals := _finals(lagged, task=task, lag=lag, correction=correction)
        )
      ]
      # Horizontal offsets keep the intervals from hiding one another.
      positions = np.arange(len(points)) + 0.08 * (i - (len(compared) - 1) / 2)
      means = np.array([point.value for point in points])
      errors = [
        [p.value - p.low for p in points],
        [p.high - p.value for p in points],
      ]
      axes.errorbar(
        positions, means, errors, fmt='.-', color=f'C{i}', capsize=2
      )
    axes.set_xticks(range(len(all_lags)), [str(lag) for lag in all_lags])
    _label_axes(axes, task, 'policy lag (updates)')
  _add_legend(fig, compared)
  return fig


def _best_rows(results: Sequence[confidence.Result]) -> Iterator[list[Any]]:
  sampled = [r for r in results if design_lib.is_sampled(r[0])]
  tasks = _distinct(sampled, 'task')
  yield ['replay', 'correction', *tasks]
  for has_replay in _distinct(sampled, 'has_replay'):
    for correction in _corrections(sampled):
      cells = [
        _finals(
          sampled, task=task, has_replay=has_replay, correction=correction
        )
        for task in tasks
      ]
      best = [
        confidence.mean_of_best(finals) if finals else '' for finals in cells
      ]
      yield [
        'yes' if has_replay else 'no',
        _label(correction),
        *best,
      ]


def _lag_rows(results: Sequence[confidence.Result]) -> Iterator[list[Any]]:
  lagged = [r for r in results if not design_lib.is_sampled(r[0])]
  all_lags = _distinct(lagged, 'lag')
  yield ['task', 'correction', *(f'lag {lag}' for lag in all_lags)]
  for task in _distinct(lagged, 'task'):
    finals = {
      correction: [
        _finals(lagged, task=task, lag=lag, correction=correction)
        for lag in all_lags
      ]
      for correction in _corrections(lagged)
    }
    for correction, cells in finals.items():
      means = [confidence.mean(cell) if cell else '' for cell in cells]
      yield [task, _label(correction), *means]
    if not {'vtrace', 'none'} <= finals.keys():
      continue
    pairs = zip(finals['vtrace'], finals['none'])
    gains = [confidence.difference(*p) if all(p) else '' for p in pairs]
    yield [task, 'V-trace minus none', *gains]


def _corrections(results: Sequence[confidence.Result]) -> list[str]:
  """Returns the corrections in the results, in the order of `CORRECTIONS`."""
  present = {trial.correction for trial, _ in results}
  return [name for name in corrections.CORRECTIONS if name in present]


def _label(correction: str) -> str:
  return corrections.CORRECTIONS[correction].label


def _finals(results: Sequence[confidence.Result], **wanted: Any) -> list[float]:
  """Returns the final returns of the trials whose fields equal `wanted`."""
  return [
    final
    for trial, final in results
    if all(getattr(trial, name) == value for name, value in wanted.items())
  ]


def _distinct(results: Sequence[confidence.Result], name: str) -> list[Any]:
  """Returns the distinct values of a field, sorted; tasks in given order."""
  values = list(dict.fromkeys(getattr(trial, name) for trial, _ in results))
  return values if name == 'task' else sorted(values)


def _markdown(rows: Iterator[list[Any]]) -> list[str]:
  header, *rest = ([str(cell) for cell in row] for row in rows)
  lines = [header, ['---'] * len(header), *rest]
  return [f'| {" | ".join(line)} |' for line in lines]


def _panels(rows: int, columns: int) -> tuple[figure.Figure, np.ndarray]:
  width, height = _PANEL
  size = width * max(columns, 1), height * max(rows, 1) + 0.4
  fig = figure.Figure(figsize=size, layout='constrained')
  axes = fig.subplots(max(rows, 1), max(columns, 1), squeeze=False)
  return fig, axes


def _label_axes(axes: axes_lib.Axes, title: str, xlabel: str) -> None:
  axes.set_title(title, fontsize='medium')
  axes.set_xlabel(xlabel)
  axes.set_ylabel('final return')
  style.set_style(axes)


def _add_legend(fig: figure.Figure, compared: Sequence[str]) -> None:
  handles = [
    axes_lib.Axes.plot(fig.axes[0], [], [], color=f'C{i}')[0]
    for i in range(len(compared))
  ]
  fig.legend(
    handles,
    [_label(correction) for correction in compared],
    loc='outside upper left',
    ncols=len(handles),
    frameon=False,
  )
