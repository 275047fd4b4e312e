"""Figures of what is computed exactly on small MDPs.

The functions return figures. Where several MDPs are given, the lines are means.
"""

from collections.abc import Sequence

from matplotlib import axes as axes_lib
from matplotlib import figure
import numpy as np

from experiments.plotting import style
from experiments.studies import convergence
from experiments.studies import gradient_bias
from experiments.studies import tabular_mdp
from vtrace import corrections

_ITERATIONS = 25
_SMALLEST = 1e-5  # Of an axis of distances: single precision ends near 1e-7.
_RHO_BARS = np.geomspace(0.03, 30.0, 13)
_C_BARS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
_SHOWN_C_BARS = (0.0, 0.5, 1.0)

MDPs = Sequence[tabular_mdp.TabularMDP]


def thresholds(
  mdp: tabular_mdp.TabularMDP, rho_bar: float, c_bar: float, lambda_: float
) -> figure.Figure:
  """Draws the fixed point (left) and the way to it (right) of V-trace."""
  fig, (left, right) = _panels('values of the states', 'distance to the limit')
  apply = convergence.vtrace_operator(mdp, rho_bar, c_bar, lambda_)
  clipped = convergence.clipped_policy(mdp, rho_bar)
  values = tabular_mdp.value_of(mdp, clipped)
  policies = {r'$V^\mu$': mdp.mu, r'$V^\pi$': mdp.pi}
  places = np.arange(tabular_mdp.STATES)
  for label, policy in policies.items():
    left.plot(places, tabular_mdp.value_of(mdp, policy), 'o--', label=label)
  left.plot(places, values, 's-', label=r'$V^{\pi_{\bar\rho}}$', ms=9, mfc='w')
  limit = tabular_mdp.fixed_point(apply)
  left.plot(places, limit, 'kx', label='limit of the iterations', ms=7)
  left.set_xticks(places)
  left.set_xlabel('state')
  left.legend(fontsize='small', frameon=False)
  distances = convergence.distances(apply, values, _ITERATIONS)
  eta = convergence.bound(mdp, rho_bar)
  steps = np.arange(len(distances))
  right.plot(steps, distances, '.-', color='C2', label='V-trace')
  right.plot(
    steps, distances[0] * eta**steps, ':', color='0.4', label='theorem 1'
  )
  _set_distance_axes(right)
  right.legend(fontsize='small', frameon=False)
  return fig


def rho_bars(mdps: MDPs) -> figure.Figure:
  """Draws which values are learned (left), and the noise (right)."""
  fig, (left, right) = _panels(
    'distance of the fixed point', 'standard deviation of targets'
  )
  distances = np.array(
    [[_distances_of_policies(mdp, x) for mdp in mdps] for x in _RHO_BARS]
  ).mean(1)
  for label, line in zip((r'from $V^\mu$', r'from $V^\pi$'), distances.T):
    left.plot(_RHO_BARS, line, '.-', label=label)
  left.legend(frameon=False)
  deviations = [
    np.mean([convergence.target_deviation(m, x, min(x, 1.0)) for m in mdps])
    for x in _RHO_BARS
  ]
  right.plot(_RHO_BARS, deviations, '.-', color='C3')
  right.set_ylim(0.0)
  for axes in (left, right):
    axes.set_xscale('log')
    axes.set_xlabel(r'$\bar\rho$')
    axes.axvline(1.0, color='0.7', linewidth=0.8)
  return fig


def c_bars(mdps: MDPs) -> figure.Figure:
  """Draws the speed of convergence (left), and speed against noise (right)."""
  fig, (left, right) = _panels('distance to the limit', 'speed against noise')
  for c_bar in _SHOWN_C_BARS:
    curves = [_way(mdp, c_bar) for mdp in mdps]
    left.plot(np.mean(curves, 0), '.-', label=rf'$\bar c$ = {c_bar:g}')
  _set_distance_axes(left)
  left.legend(frameon=False)
  points = np.array(
    [[_speed_and_noise(mdp, c) for mdp in mdps] for c in _C_BARS]
  ).mean(1)
  right.plot(*points.T, '.-', color='C3')
  for c_bar, point in zip(_C_BARS, points):
    right.annotate(
      f'{c_bar:g}', point, xytext=(4, 4), textcoords='offset points'
    )
  right.set_xlabel('standard deviation of targets')
  right.set_ylabel(r'contraction factor $\eta$ (less is faster)')
  return fig


def lags(
  mdps: MDPs,
  cases: Sequence[tuple[corrections.Correction, str]],
  policy_lags: Sequence[int],
  step_size: float,
) -> figure.Figure:
  """Draws the bias of values and policy gradients against the policy lag.

  Args:
    mdps: in each, pi is improved for as many updates as the greatest lag.
    cases: corrections and the style of their lines.
    policy_lags: lags, in updates.
    step_size: of the updates.
  """
  titles = (
    'maximum error of V',
    'cosine similarity of gradients',
    'relative error of gradients',
  )
  fig, panels = _panels(*titles, width=9.5)
  updates = max(policy_lags)
  learned = [(m, gradient_bias.learn(m, updates, step_size)) for m in mdps]
  for correction, line_style in cases:
    lines = gradient_bias.against_lag(correction, learned, policy_lags).T
    for axes, line in zip(panels, lines):
      axes.plot(range(len(line)), line, line_style, label=correction.label)
  for axes in panels:
    axes.set_xticks(range(len(policy_lags)), policy_lags)
    axes.set_xlabel('policy lag (updates)')
  handles, labels = panels[0].get_legend_handles_labels()
  fig.legend(
    handles,
    labels,
    loc='outside upper left',
    ncols=len(labels),
    frameon=False,
  )
  return fig


def _panels(
  *titles: str, width: float = 8.0
) -> tuple[figure.Figure, list[axes_lib.Axes]]:
  fig = style.Figure(figsize=(width, 3.4), layout='constrained')
  panels = fig.subplots(1, len(titles))
  for axes, title in zip(panels, titles):
    axes.set_title(title, fontsize='medium')
    style.set_style(axes)
  return fig, list(panels)


def _set_distance_axes(axes: axes_lib.Axes) -> None:
  axes.set_yscale('log')
  axes.set_ylim(bottom=max(_SMALLEST, axes.get_ylim()[0]))
  axes.set_xlabel('iterations of the operator')


def _distances_of_policies(
  mdp: tabular_mdp.TabularMDP, rho_bar: float
) -> list[float]:
  """Returns the distances of V^pi_rho_bar from V^mu and V^pi."""
  values = tabular_mdp.value_of(mdp, convergence.clipped_policy(mdp, rho_bar))
  return [
    np.max(np.abs(values - tabular_mdp.value_of(mdp, policy)))
    for policy in (mdp.mu, mdp.pi)
  ]


def _way(mdp: tabular_mdp.TabularMDP, c_bar: float) -> np.ndarray:
  """Returns the distances to the limit with rho_bar = 1."""
  values = tabular_mdp.value_of(mdp, convergence.clipped_policy(mdp, 1.0))
  apply = convergence.vtrace_operator(mdp, 1.0, c_bar)
  return convergence.distances(apply, values, _ITERATIONS)


def _speed_and_noise(
  mdp: tabular_mdp.TabularMDP, c_bar: float
) -> tuple[float, float]:
  """Returns the deviation of targets and eta, without a limit on rho."""
  apply = convergence.vtrace_operator(mdp, None, c_bar)
  deviation = convergence.target_deviation(mdp, None, c_bar)
  return deviation, convergence.contraction(apply)
