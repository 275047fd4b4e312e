"""Tests of the ablation study: its design, runs, tables and figures."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from experiments import ablation
from experiments import config as config_lib
from experiments import fixed_points
from experiments.studies import confidence
from experiments.studies import design as design_lib
from experiments.studies import gradient_bias
from experiments.studies import report as report_lib
from experiments.studies import runner
from experiments.studies import tabular_mdp
from experiments.training import validation
import vtrace

TINY = design_lib.Design(
  tasks=(design_lib.Task('Catch', 3_000, dict(learning_rate=1e-3)),),
  num_samples=2,
  sampled_lag=2,
  lags=(0, 2),
  num_seeds=2,
)


# The design of the slow tests: twelve short runs.
TINIEST = TINY._replace(num_samples=1, lags=(2,), num_seeds=1)


@pytest.mark.parametrize('design', (design_lib.FULL, design_lib.QUICK))
def test_every_trial_is_unique_and_has_a_valid_config(design):
  wanted = design_lib.trials(design)
  assert len({trial.name for trial in wanted}) == len(wanted)
  tasks, corrections = len(design.tasks), len(vtrace.corrections.CORRECTIONS)
  assert len(wanted) == tasks * corrections * (
    2 * design.num_samples + len(design.lags) * design.num_seeds
  )
  for trial in wanted:
    validation.validate(trial.config, 1)
    assert trial.config.correction == trial.correction
    assert trial.config.lag == trial.lag and trial.config.env == trial.task
    assert (trial.config.replay_fraction > 0) == trial.has_replay


def test_all_corrections_share_the_hyperparameter_samples():
  names = ('learning_rate', 'entropy_cost', 'rmsprop_epsilon')
  seen = {}
  for trial in design_lib.trials(design_lib.FULL):
    if design_lib.is_sampled(trial):
      values = tuple(getattr(trial.config, name) for name in names)
      seen.setdefault(trial.sample, set()).add(values)
  assert all(len(values) == 1 for values in seen.values())
  assert (
    len(set.union(*seen.values())) == len(seen) == design_lib.FULL.num_samples
  )


def test_confidence_intervals_equal_scipys():
  rng = np.random.default_rng(0)
  one, other = rng.normal(1, 1, 5), rng.normal(0, 2, 7)
  found = confidence.mean(one)
  expected = stats.ttest_1samp(one, 0).confidence_interval()
  np.testing.assert_allclose(found, (np.mean(one), *expected))
  found = confidence.difference(one, other)
  test = stats.ttest_ind(one, other, equal_var=False)
  expected = test.confidence_interval()
  np.testing.assert_allclose(found, (one.mean() - other.mean(), *expected))


def test_the_interval_of_a_single_run_is_infinite():
  assert confidence.mean([0.5]) == (0.5, -np.inf, np.inf)
  assert str(confidence.mean([0.5])) == '0.50'
  found = confidence.difference([0.5], [0.25, 0.3, 0.2])
  assert found == (0.25, -np.inf, np.inf)
  found = confidence.difference([1.0, 1.0], [0.25, 0.25])
  assert found == (0.75, 0.75, 0.75)


def test_mean_of_best_averages_the_best_three():
  returns = [0.1, 0.9, 0.2, 0.8, 0.7, -1.0, 0.3, 0.0]
  found = confidence.mean_of_best(returns)
  assert found.value == pytest.approx(0.8)
  # The best three of a resample are at most 0.9, 0.9 and 0.9.
  assert 0.2 < found.low < 0.8 < found.high <= 0.9 + 1e-9


def read_all(folder):
  return {
    path.name: json.loads(path.read_text())
    for path in sorted((folder / 'runs').glob('*.json'))
  }


@pytest.fixture(scope='module')
def ablated(tmp_path_factory):
  """Runs a tiny ablation; returns its folder and its results."""
  folder = tmp_path_factory.mktemp('ablation')
  return folder, ablation.run(TINIEST, folder, num_processes=2)


@pytest.mark.slow
def test_an_ablation_runs_every_trial_and_writes_its_results(ablated):
  folder, results = ablated
  wanted = design_lib.trials(TINIEST)
  assert [trial for trial, _ in results] == wanted
  for record in read_all(folder).values():
    frames = [frames for frames, _ in record['curve']]
    assert frames == sorted(frames) and frames[-1] >= 3_000
    assert record['curve'][-1][1] == record['mean_return']
  with open(folder / 'results.csv') as file:
    rows = list(csv.DictReader(file))
  assert len(rows) == len(wanted)
  finals = {trial.name: final for trial, final in results}
  for row, name in zip(rows, sorted(finals), strict=True):
    assert float(row['final_return']) == pytest.approx(finals[name], abs=1e-5)
  for name in ('stability.png', 'lag.png'):
    assert (folder / name).read_bytes().startswith(b'\x89PNG')


@pytest.mark.slow
def test_an_interrupted_ablation_resumes_with_the_same_results(ablated):
  folder, results = ablated
  before = read_all(folder)
  removed = next(iter(before))
  (folder / 'runs' / removed).unlink()
  modified = (folder / 'runs' / list(before)[-1]).stat().st_mtime_ns
  assert ablation.run(TINIEST, folder, num_processes=1) == results
  after = read_all(folder)
  assert (folder / 'runs' / list(before)[-1]).stat().st_mtime_ns == modified
  assert after[removed]['curve'] == before[removed]['curve']


@pytest.mark.slow
def test_a_record_of_a_different_config_raises_config_error(ablated):
  folder, _ = ablated
  trial = design_lib.trials(TINIEST)[0]
  other = trial._replace(
    config=dataclasses.replace(trial.config, unroll_length=7)
  )
  with pytest.raises(config_lib.ConfigError, match='unroll_length'):
    runner.read(other, folder / 'runs')


def make_results(value):
  """Returns results whose final returns are `value(trial)`."""
  return [(trial, value(trial)) for trial in design_lib.trials(TINY)]


def test_the_tables_contain_the_estimates():
  def value(trial):
    worse = 0.0 if trial.correction == 'vtrace' else 0.1 * trial.lag
    return 1.0 - worse - 0.01 * trial.seed - 0.25 * trial.has_replay

  page = report_lib.page(make_results(value))
  lines = [line.split(' | ') for line in page.splitlines()]
  (best,) = [x for x in lines if x[:2] == ['| yes', '1-step']]
  assert best[2].startswith('0.55 [0.55, 0.55]')
  (gain,) = [x for x in lines if 'minus' in ' '.join(x)]
  assert gain[2].startswith('0.00 [') and gain[3].startswith('0.20 [')
  assert page.count('| Catch | V-trace |') == 1


def panels_of(fig):
  """Returns the y values of each panel's lines."""
  return [[line.get_ydata() for line in axes.get_lines()] for axes in fig.axes]


def test_figures_show_every_run():
  value = lambda trial: trial.sample + 0.5 * trial.has_replay + trial.lag
  _, with_replay = panels_of(report_lib.stability(make_results(value)))
  for line in with_replay[:4]:
    np.testing.assert_array_equal(line, [3.5, 2.5])  # In decreasing order.
  (panel,) = panels_of(report_lib.lags(make_results(value)))
  means = [line for line in panel if len(line) == 2]
  assert len(means) >= 4
  np.testing.assert_array_equal(means[0], [-1.0, 1.0])


def test_only_corrections_that_were_run_are_reported():
  results = [
    result
    for result in make_results(lambda trial: 1.0)
    if result[0].correction in ('none', 'one_step')
  ]
  page = report_lib.page(results)
  assert '| 1-step |' in page and '| none |' in page
  assert 'V-trace' not in page and 'epsilon' not in page
  for fig in (report_lib.stability(results), report_lib.lags(results)):
    labels = [text.get_text() for text in fig.legends[0].get_texts()]
    assert labels == ['1-step', 'none']


def test_vtrace_has_the_smallest_value_error_at_its_fixed_point():
  mdps = [tabular_mdp.make_mdp(seed) for seed in range(5)]
  errors = {
    correction.label: np.mean(
      [gradient_bias.bias(correction, mdp) for mdp in mdps], axis=0
    )
    for correction, _ in fixed_points.make_cases()
  }
  assert errors['V-trace, no clipping'] == pytest.approx((0, 1, 0), abs=1e-3)
  for label in ('1-step', 'epsilon', 'none'):
    assert errors['V-trace'][0] < 0.8 * errors[label][0]
  for correction, _ in fixed_points.make_cases():
    on_policy = fixed_points.between(mdps[0], 0.0)
    error = gradient_bias.bias(correction, on_policy)
    assert error == pytest.approx((0, 1, 0), abs=1e-3)
