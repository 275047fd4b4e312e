"""What the thresholds decide on small MDPs, against enumeration by hand."""

import itertools

import numpy as np
import pytest

from experiments.plotting import unrolls
from experiments.studies import convergence
from experiments.studies import tabular_mdp
from experiments.studies import theory_figures
from tests import reference
from vtrace import corrections


def titles(fig):
  return [axes.get_title() for axes in fig.axes]


def targets_by_hand(mdp, state, values, rho_bar, c_bar):
  """Returns probabilities and targets of all paths from a state, `[P]`."""
  found = []
  for actions in itertools.product(
    range(tabular_mdp.ACTIONS), repeat=tabular_mdp.STEPS
  ):
    states = [state]
    for a in actions:
      states.append(mdp.next_state[states[-1], a])
    here = states[:-1], list(actions)
    vs, _ = reference.vtrace(
      np.log(mdp.pi / mdp.mu)[here],
      np.full(tabular_mdp.STEPS, tabular_mdp.GAMMA),
      mdp.reward[here],
      values[states[:-1]],
      values[states[-1]],
      clip_rho_threshold=rho_bar,
      clip_c_threshold=c_bar,
    )
    found.append((np.prod(mdp.mu[here]), vs[0]))
  return np.array(found).T


def test_the_deviation_of_targets_is_that_of_all_paths():
  mdp = tabular_mdp.make_mdp(0)
  clipped = np.minimum(2.0 * mdp.mu, mdp.pi)
  clipped /= np.sum(clipped, axis=1, keepdims=True)
  values = tabular_mdp.value_of(mdp, clipped)
  variances = []
  for state in range(tabular_mdp.STATES):
    probability, vs = targets_by_hand(mdp, state, values, 2.0, 0.7)
    mean = np.sum(probability * vs)
    assert mean == pytest.approx(values[state], abs=1e-5)  # A fixed point.
    variances.append(np.sum(probability * (vs - mean) ** 2))
  assert convergence.target_deviation(mdp, 2.0, 0.7) == pytest.approx(
    np.sqrt(np.mean(variances)), rel=1e-4
  )


def test_the_contraction_factor_is_reached_and_never_exceeded():
  mdp = tabular_mdp.make_mdp(2)
  apply = convergence.vtrace_operator(mdp, rho_bar=2.0, c_bar=0.5)
  eta = convergence.contraction(apply)
  signs = itertools.product((-1.0, 1.0), repeat=tabular_mdp.STATES)
  zero = apply(np.zeros(tabular_mdp.STATES))
  ratios = [np.max(np.abs(apply(np.array(v)) - zero)) for v in signs]
  assert max(ratios) == pytest.approx(eta, abs=1e-5)
  assert eta < convergence.bound(mdp, 2.0) + 1e-5


def test_the_bound_of_theorem_1_is_that_of_the_worst_state():
  mdp = tabular_mdp.make_mdp(2)
  expected_rhos = [
    sum(min(0.5 * m, p) for m, p in zip(*policies))
    for policies in zip(mdp.mu, mdp.pi)
  ]
  assert convergence.bound(mdp, 0.5) == pytest.approx(
    1 - (1 - tabular_mdp.GAMMA) * min(expected_rhos)
  )
  assert convergence.bound(mdp, None) == pytest.approx(tabular_mdp.GAMMA)


def test_the_solved_fixed_point_is_the_limit_of_iterations():
  for name, row in corrections.CORRECTIONS.items():
    apply = tabular_mdp.operator(tabular_mdp.make_mdp(3), row)
    np.testing.assert_allclose(
      tabular_mdp.solve(apply),
      tabular_mdp.fixed_point(apply),
      atol=1e-5,
      err_msg=name,
    )


def test_longer_traces_contract_faster_and_have_noisier_targets():
  mdp = tabular_mdp.make_mdp(0)
  c_bars = 0.0, 0.5, 1.0
  etas = [
    convergence.contraction(convergence.vtrace_operator(mdp, 1.0, c_bar))
    for c_bar in c_bars
  ]
  noise = [convergence.target_deviation(mdp, 1.0, c_bar) for c_bar in c_bars]
  assert etas[0] > etas[1] > etas[2]
  assert noise[0] < noise[1] < noise[2]


def test_distances_begin_at_the_values_and_fall_to_the_fixed_point():
  mdp = tabular_mdp.make_mdp(0)
  values = tabular_mdp.value_of(mdp, convergence.clipped_policy(mdp, 1.0))
  apply = convergence.vtrace_operator(mdp)
  distances = convergence.distances(apply, values, 3)
  assert distances.shape == (4,)
  assert distances[0] == pytest.approx(np.max(np.abs(values)))
  assert np.all(np.diff(distances) < 0)
  once = np.max(np.abs(apply(np.zeros(tabular_mdp.STATES)) - values))
  assert distances[1] == pytest.approx(once)


def test_the_figure_of_thresholds_shows_the_limit_on_the_clipped_policy():
  fig = theory_figures.thresholds(tabular_mdp.make_mdp(0), 0.5, 0.5, 0.9)
  lines = {line.get_label(): line.get_ydata() for line in fig.axes[0].lines}
  clipped, limit = (
    lines[r'$V^{\pi_{\bar\rho}}$'],
    lines['limit of the iterations'],
  )
  np.testing.assert_allclose(clipped, limit, atol=1e-3)
  assert np.max(np.abs(lines[r'$V^\mu$'] - limit)) > 0.1
  ours, bound = (line.get_ydata() for line in fig.axes[1].lines)
  assert np.all(ours <= bound + 1e-5)
  assert fig._repr_png_().startswith(b'\x89PNG')


def test_sweeps_have_a_line_for_each_quantity(monkeypatch):
  monkeypatch.setattr(theory_figures, '_RHO_BARS', np.array([0.1, 1.0]))
  monkeypatch.setattr(theory_figures, '_C_BARS', (0.0, 1.0))
  mdps = [tabular_mdp.make_mdp(0)]
  left, right = theory_figures.rho_bars(mdps).axes
  from_mu, from_pi, _ = (line.get_ydata() for line in left.lines)
  assert from_mu[0] < from_mu[1] and from_pi[0] > from_pi[1]
  low, high = right.lines[0].get_ydata()
  assert low < high
  left, right = theory_figures.c_bars(mdps).axes
  assert [line.get_label() for line in left.lines] == [
    rf'$\bar c$ = {c:g}' for c in (0.0, 0.5, 1.0)
  ]
  assert [text.get_text() for text in right.texts] == ['0', '1']


def test_the_figure_of_lags_has_a_line_for_each_correction():
  row = corrections.CORRECTIONS['none']
  fig = theory_figures.lags(
    [tabular_mdp.make_mdp(0)], [(row, 'C1--')], (0, 4), step_size=0.1
  )
  errors = [axes.lines[0].get_ydata() for axes in fig.axes]
  assert [len(line) for line in errors] == [2, 2, 2]
  assert errors[0][0] == pytest.approx(0.0, abs=1e-3) and errors[0][1] > 0.01
  assert [text.get_text() for text in fig.legends[0].get_texts()] == ['none']


def test_terms_of_steps_before_the_target_are_hidden():
  matrix = np.array([[1.0, 2.0], [9.0, -4.0]])
  fig = unrolls.terms({'one': matrix, 'two': 2 * matrix})
  assert titles(fig)[:2] == ['one', 'two']
  shown = fig.axes[1].images[0].get_array()
  np.testing.assert_array_equal(shown.mask, [[False, False], [True, False]])
  assert shown[0, 1] == 4.0


def test_bars_stand_side_by_side_at_their_step():
  rows = {'a': np.array([1.0, 2.0]), 'b': np.array([3.0, -4.0])}
  fig = unrolls.per_step({'targets': rows})
  bars = [
    (bar.get_center()[0], bar.get_height()) for bar in fig.axes[0].patches
  ]
  np.testing.assert_allclose(
    bars, [(-0.2, 1.0), (0.8, 2.0), (0.2, 3.0), (1.2, -4.0)]
  )
