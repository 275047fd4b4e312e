"""What each correction learns when another policy acts: a figure.

python -m experiments.fixed_points --out=fixed_points.png

On random small MDPs the behaviour policy moves away from the target policy,
mu_a = (1 - a) pi + a mu. Left: how far the value function that is learnt is
from that of pi. Right: the cosine between the expected policy gradient, once
the values are learnt, and that of acting with pi; states weigh equally.
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
from experiments.studies import tabular_mdp
from vtrace import corrections

_AWAY = np.linspace(0.0, 1.0, 6)
_STYLES = ('-', '--', '-.', ':')


class Case(NamedTuple):
  """A line of the figure."""

  correction: corrections.Correction
  style: str


def make_cases() -> list[Case]:
  """Returns every correction, and V-trace without clipping besides."""
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


def errors(
  correction: corrections.Correction, mdp: tabular_mdp.TabularMDP
) -> tuple[float, float]:
  """Returns max |V - V of pi|, and the cosine of the policy gradients."""
  values = tabular_mdp.fixed_point(tabular_mdp.operator(mdp, correction))
  wanted = tabular_mdp.value_of(mdp, mdp.pi)
  weights = correction.pg_weights(np.log(mdp.pi / mdp.mu), np.log(mdp.pi))
  if correction.clips_pg:
    weights = np.minimum(weights, 1.0)
  learnt = policy_gradient(mdp, values, mdp.mu * weights)
  true = policy_gradient(mdp, wanted, mdp.pi)
  cosine = np.sum(learnt * true) / np.linalg.norm(learnt)
  return np.max(np.abs(values - wanted)), cosine / np.linalg.norm(true)


def policy_gradient(
  mdp: tabular_mdp.TabularMDP, values: np.ndarray, weights: np.ndarray
) -> np.ndarray:
  """sum_a weights (r + gamma V(x') - V(x)) d log pi(a|x) / d logits."""
  q = mdp.reward + tabular_mdp.GAMMA * values[mdp.next_state]
  weighed = weights * (q - values[:, None])
  return weighed - np.sum(weighed, 1, keepdims=True) * mdp.pi


def between(mdp: tabular_mdp.TabularMDP, away: float) -> tabular_mdp.TabularMDP:
  """The same, with a behaviour policy so far from pi."""
  return mdp._replace(mu=(1 - away) * mdp.pi + away * mdp.mu)


def draw(seeds: Sequence[int]) -> figure.Figure:
  """Means over MDPs."""
  fig = figure.Figure(figsize=(8, 3.4), layout='constrained')
  panels = fig.subplots(1, 2)
  mdps = [tabular_mdp.make_mdp(seed) for seed in seeds]
  cases = make_cases()
  for case in cases:
    means = np.mean(
      [
        [errors(case.correction, between(mdp, a)) for a in _AWAY]
        for mdp in mdps
      ],
      axis=0,
    )
    for axes, mean in zip(panels, means.T):
      axes.plot(_AWAY, mean, case.style, label=case.correction.label)
  titles = 'distance of the value from that of pi', 'cosine of the gradients'
  for axes, title in zip(panels, titles):
    axes.set_title(title, fontsize='medium')
    axes.set_xlabel('how far mu is from pi')
    style.set_style(axes)
  handles, labels = panels[0].get_legend_handles_labels()
  fig.legend(
    handles, labels, loc='outside upper left', ncols=len(cases), frameon=False
  )
  return fig


def main() -> None:
  """Draws the figure."""
  with atomic_file.replacing(config_lib.path(flags.FLAGS.out)) as file:
    draw(range(flags.FLAGS.num_mdps)).savefig(file, dpi=style.DPI)


if __name__ == '__main__':
  flags.DEFINE_string('out', 'fixed_points.png', 'The figure.')
  flags.DEFINE_integer('num_mdps', 20, 'MDPs to average over.', lower_bound=1)
  flags.DEFINE_alias('worlds', 'num_mdps')  # Its name in earlier versions.
  cli.run(main)
