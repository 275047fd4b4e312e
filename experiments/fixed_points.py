"""What each correction learns when another policy acts: a figure.

python -m experiments.fixed_points --out=fixed_points.png

On random small MDPs the behaviour policy moves away from the target policy,
mu_a = (1 - a) pi + a mu. Left: how far the value function that is learnt is
from that of pi. Right: the cosine between the expected policy gradient, once
the values are learnt, and that of acting with pi; states weigh equally.
"""

from collections.abc import Sequence
import itertools
from typing import Any
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
_UNCLIPPED = dict(
  clip_rho_threshold=None, clip_c_threshold=None, clip_pg_rho_threshold=None
)


class Case(NamedTuple):
  """A line of the figure."""

  label: str
  correction: corrections.Correction
  settings: dict[str, Any]
  style: str


def make_cases() -> list[Case]:
  """Returns every correction, and V-trace without clipping besides."""
  cases = [
    Case(row.label, row, {}, f'C{i}{style}')
    for i, (row, style) in enumerate(
      zip(corrections.CORRECTIONS.values(), itertools.cycle(_STYLES))
    )
  ]
  vtrace = cases[0]
  unclipped = vtrace._replace(
    label=f'{vtrace.label}, no clipping',
    settings=_UNCLIPPED,
    style=f'C{len(cases)}-',
  )
  return [vtrace, unclipped, *cases[1:]]


def errors(case: Case, world: tabular_mdp.World) -> tuple[float, float]:
  """(max |V - V of pi|, cosine of the policy gradients)."""
  values = tabular_mdp.fixed_point(
    tabular_mdp.operator(world, case.correction, **case.settings)
  )
  wanted = tabular_mdp.value_of(world, world.pi)
  weights = case.correction.pg_weights(
    np.log(world.pi / world.mu),
    np.log(world.pi),
    case.settings.get('clip_pg_rho_threshold', 1.0),
  )
  learnt = policy_gradient(world, values, world.mu * weights)
  true = policy_gradient(world, wanted, world.pi)
  cosine = np.sum(learnt * true) / np.linalg.norm(learnt)
  return np.max(np.abs(values - wanted)), cosine / np.linalg.norm(true)


def policy_gradient(
  world: tabular_mdp.World, values: np.ndarray, weights: np.ndarray
) -> np.ndarray:
  """sum_a weights (r + gamma V(x') - V(x)) d log pi(a|x) / d logits."""
  q = world.reward + tabular_mdp.GAMMA * values[world.next_state]
  weighed = weights * (q - values[:, None])
  return weighed - np.sum(weighed, 1, keepdims=True) * world.pi


def between(world: tabular_mdp.World, away: float) -> tabular_mdp.World:
  """The same, with a behaviour policy so far from pi."""
  return world._replace(mu=(1 - away) * world.pi + away * world.mu)


def draw(seeds: Sequence[int]) -> figure.Figure:
  """Means over MDPs."""
  fig = figure.Figure(figsize=(8, 3.4), layout='constrained')
  panels = fig.subplots(1, 2)
  worlds = [tabular_mdp.make_world(seed) for seed in seeds]
  cases = make_cases()
  for case in cases:
    means = np.mean(
      [[errors(case, between(w, a)) for a in _AWAY] for w in worlds], axis=0
    )
    for axes, mean in zip(panels, means.T):
      axes.plot(_AWAY, mean, case.style, label=case.label)
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
    draw(range(flags.FLAGS.worlds)).savefig(file, dpi=style.DPI)


if __name__ == '__main__':
  flags.DEFINE_string('out', 'fixed_points.png', 'The figure.')
  flags.DEFINE_integer('worlds', 20, 'MDPs to average over.', lower_bound=1)
  cli.run(main)
