"""Figures of one unroll: what each step adds to the targets, and the results.

Arrays are `[T]` or `[T, T]`; they come from a few steps of one environment.
"""

from collections.abc import Mapping

from matplotlib import figure
import numpy as np

from experiments.plotting import style

_PANEL = 3.0  # Inches.


def terms(matrices: Mapping[str, np.ndarray]) -> figure.Figure:
  """Draws the terms of the sum in equation 1, a panel for each matrix.

  Args:
    matrices: by title, `[T, T]`: row s, column t is what step t adds to v_s.
  """
  fig = style.Figure(
    figsize=(_PANEL * len(matrices) + 0.6, _PANEL), layout='constrained'
  )
  panels = fig.subplots(1, len(matrices), squeeze=False)[0]
  largest = max(np.max(np.abs(matrix)) for matrix in matrices.values())
  for axes, (title, matrix) in zip(panels, matrices.items()):
    below = np.tri(len(matrix), k=-1, dtype=bool)  # Steps before s.
    image = axes.imshow(
      np.ma.masked_array(matrix, below),
      cmap='RdBu',
      vmin=-largest,
      vmax=largest,
    )
    axes.set_title(title, fontsize='medium')
    axes.set_xlabel('step t')
    axes.set_xticks(range(len(matrix)))
    axes.set_yticks(range(len(matrix)))
  panels[0].set_ylabel('target of step s')
  fig.colorbar(image, ax=list(panels), label='term of $v_s$')
  return fig


def per_step(
  quantities: Mapping[str, Mapping[str, np.ndarray]],
) -> figure.Figure:
  """Draws quantities of every step as groups of bars, a panel for each.

  Args:
    quantities: by title of the panel, then by label of the bars, `[T]`. The
      panels have the same labels.
  """
  fig = style.Figure(figsize=(8.0, 3.2), layout='constrained')
  panels = fig.subplots(1, len(quantities), squeeze=False)[0]
  for axes, (title, rows) in zip(panels, quantities.items()):
    width = 0.8 / len(rows)
    for i, (label, values) in enumerate(rows.items()):
      places = np.arange(len(values)) + (i - (len(rows) - 1) / 2) * width
      axes.bar(places, values, width, label=label)
    axes.set_title(title, fontsize='medium')
    axes.set_xlabel('step')
    axes.set_xticks(range(len(values)))
    axes.axhline(0.0, color='0.6', linewidth=0.8)
    style.set_style(axes)
  handles, labels = panels[0].get_legend_handles_labels()
  fig.legend(
    handles,
    labels,
    loc='outside upper left',
    ncols=len(labels),
    frameon=False,
  )
  return fig
