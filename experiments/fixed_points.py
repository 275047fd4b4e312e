"""Draws the bias of each off-policy correction at its fixed point.

python -m experiments.fixed_points --out=fixed_points.png

On small random MDPs the behaviour policy moves away from the target policy pi:
mu_a = (1 - a) pi + a mu. Left: the maximum distance between the learned value
function and that of pi. Right: the cosine similarity between the expected
policy gradient with the learned values and the on-policy gradient of pi. All
states have equal weight.
"""

from collections.abc import Sequence
import itertools
from typing import NamedTuple

from absl import flags
from matplotlib import figure
import numpy as np

from experiments import cli
from experiments import config as config_lib
from experiments.plotting import style
from experiments.records import atomic_file
from experiments.studies import gradient_bias
from experiments.studies import tabular_mdp
from vtrace import corrections

_DISTANCES = np.linspace(0.0, 1.0, 6)  # Values of a.
_STYLES = ('-', '--', '-.', ':')


class Case(NamedTuple):
  """One line of the figure."""

  correction: corrections.Correction
  style: str


def make_cases() -> list[Case]:
  """Returns every correction, and V-trace without clipping."""
  rows = corrections.CORRECTIONS
  cases = [
    Case(row, f'C{i}{style}')
    for i, (row, style) in enumerate(
      zip(rows.values(), itertools.cycle(_STYLES))
    )
  ]
  unclipped = rows['vtrace']._replace(
    label=f'{rows["vtrace"].label}, no clipping',
    clips_values=False,
    clips_pg=False,
  )
  return [cases[0], Case(unclipped, f'C{len(rows)}-'), *cases[1:]]


def between(mdp: tabular_mdp.TabularMDP, away: float) -> tabular_mdp.TabularMDP:
  """Returns `mdp` with the behaviour policy (1 - away) pi + away mu."""
  return mdp._replace(mu=(1 - away) * mdp.pi + away * mdp.mu)


def draw(seeds: Sequence[int]) -> figure.Figure:
  """Draws the mean over the MDPs of `seeds` for every correction."""
  fig = style.Figure(figsize=(8, 3.4), layout='constrained')
  panels = fig.subplots(1, 2)
  mdps = [tabular_mdp.make_mdp(seed) for seed in seeds]
  cases = make_cases()
  for case in cases:
    means = np.mean(
      [
        [
          gradient_bias.bias(case.correction, between(mdp, a))
          for a in _DISTANCES
        ]
        for mdp in mdps
      ],
      axis=0,
    )
    for axes, mean in zip(panels, means.T):
      axes.plot(_DISTANCES, mean, case.style, label=case.correction.label)
  titles = 'maximum error of V', 'cosine similarity of policy gradients'
  for axes, title in zip(panels, titles):
    axes.set_title(title, fontsize='medium')
    axes.set_xlabel('a, where mu_a = (1 - a) pi + a mu')
    style.set_style(axes)
  handles, labels = panels[0].get_legend_handles_labels()
  fig.legend(
    handles, labels, loc='outside upper left', ncols=len(cases), frameon=False
  )
  return fig


def main() -> None:
  """Draws the figure and writes it to --out."""
  out = config_lib.path(flags.FLAGS.out)
  formats = figure.Figure().canvas.get_supported_filetypes()
  if out.suffix[1:].lower() not in formats:
    raise config_lib.ConfigError(
      f'--out={out} should end in a format of images: .{", .".join(formats)}.'
    )
  with atomic_file.replacing(out) as file:
    draw(range(flags.FLAGS.num_mdps)).savefig(file, dpi=style.DPI)
  print(out)


if __name__ == '__main__':
  flags.DEFINE_string('out', 'fixed_points.png', 'File of the figure.')
  flags.DEFINE_integer(
    'num_mdps', 20, 'Number of random MDPs to average over.', lower_bound=1
  )
  cli.run(main, needs_devices=True)
