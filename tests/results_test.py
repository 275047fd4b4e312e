"""The committed results have the properties that the documents claim."""

import csv
import dataclasses
import json
import pathlib
import re

import pytest

from experiments import config as config_lib
from experiments import soak
from experiments.studies import design as design_lib
from experiments.studies import report as report_lib

KNOWN = {field.name for field in dataclasses.fields(config_lib.Config)}
RESULTS = pathlib.Path(__file__).parent.parent / 'results'


def read_run(name):
  """Reads the configuration and the rows of metrics.csv of a run."""
  config = json.loads((RESULTS / name / 'config.json').read_text())
  with open(RESULTS / name / 'metrics.csv', newline='') as file:
    return known_config(config), list(csv.DictReader(file))


def known_config(recorded):
  """Makes a Config from a record; drops fields that no longer exist."""
  assert recorded.keys() - KNOWN <= {'log_seconds'}
  return config_lib.Config(**{k: recorded[k] for k in KNOWN & recorded.keys()})


def test_the_pong_run_used_the_preset_and_completed():
  config, rows = read_run('pong')
  assert config == config_lib.from_preset('pong', logdir=config.logdir)
  assert int(rows[-1]['num_frames']) >= config.num_frames


def test_pong_is_solved_within_40_minutes_and_stays_solved():
  _, rows = read_run('pong')
  solved = [r for r in rows[1:] if float(r['mean_return']) >= 18.0]
  assert float(solved[0]['seconds']) <= 40 * 60
  assert solved == rows[-len(solved) :]
  assert float(rows[-1]['mean_return']) >= 19.5


CATCH_LAG = {
  (correction, seed): read_run(f'catch_lag/{correction}_seed{seed}')
  for correction in ('vtrace', 'none')
  for seed in range(5)
}


def test_the_runs_with_lag_differ_in_correction_and_seed_alone():
  for (correction, seed), (config, rows) in CATCH_LAG.items():
    assert config == dataclasses.replace(
      CATCH_LAG['vtrace', 0][0],
      correction=correction,
      seed=seed,
      logdir=f'runs/catch_lag/{correction}_seed{seed}',
    )
    assert int(rows[-1]['num_frames']) >= config.num_frames
    assert float(rows[-1]['policy_lag']) == config.lag == 64


def test_at_a_lag_of_64_vtrace_learns_and_no_correction_forgets():
  for (correction, _), (_, rows) in CATCH_LAG.items():
    returns = [float(row['mean_return']) for row in rows]
    if correction == 'vtrace':
      assert 0.80 <= returns[-1] <= 0.91
    else:
      assert -0.68 <= returns[-1] <= 0.24
      assert 0.11 <= max(returns) <= 0.46
      best = int(rows[returns.index(max(returns))]['num_frames'])
      assert 50_000 <= best <= 70_000


def test_the_effective_sample_size_warns_before_the_return_falls():
  for (correction, _), (_, rows) in CATCH_LAG.items():
    returns = [float(row['mean_return']) for row in rows]
    sizes = [float(row['effective_sample_size']) for row in rows]
    warnings = [i for i, size in enumerate(sizes) if size < 0.7]
    if correction == 'vtrace':
      assert not warnings
    else:
      assert warnings[0] < returns.index(max(returns))


def read_soak(name):
  return json.loads((RESULTS / name / 'soak.json').read_text())


@pytest.mark.parametrize('name', ('soak_catch', 'soak_pong'))
def test_memory_threads_and_files_do_not_grow_in_20_minutes(name):
  record = read_soak(name)
  assert record['minutes'] >= 20
  early, late = (
    record[f'resident_mib_{part}']
    for part in ('second_quarter', 'last_quarter')
  )
  assert late <= 1.02 * early
  for part in ('threads', 'files'):
    early, late = (
      record[f'num_{part}_{q}'] for q in ('second_quarter', 'last_quarter')
    )
    assert late <= early + 2


@pytest.mark.parametrize(
  'name', sorted(path.name for path in RESULTS.glob('soak_*'))
)
def test_the_summary_of_a_soak_test_matches_its_samples(name):
  record = read_soak(name)
  with open(RESULTS / name / 'soak.csv', newline='') as file:
    samples = [
      soak.Sample(*map(float, row.values())) for row in csv.DictReader(file)
    ]
  for key, value in soak.summary(samples).items():
    assert record[key] == pytest.approx(value, rel=1e-3, abs=1.0), key


def read_speed(name, case):
  record = json.loads((RESULTS / 'speed_cpu' / f'{name}.json').read_text())
  return record['rates'][case]


@pytest.mark.parametrize('torso,times_plain', (('shallow', 3.5), ('deep', 3.0)))
def test_the_update_is_faster_than_plain_haiku_and_pytorch(torso, times_plain):
  rates = read_speed('learner_update', torso)
  for key in ('median', 'best'):
    assert rates['ours'][key] >= times_plain * rates['plain'][key]
  assert rates['ours']['median'] >= rates['torch']['median']


def test_training_is_faster_than_plain_parts():
  rates = read_speed('end_to_end', 'shallow')
  for key in ('median', 'best'):
    assert rates['ours'][key] >= 2 * rates['plain'][key]
  record = json.loads((RESULTS / 'speed_cpu' / 'profile.json').read_text())
  assert record['share_of_bound'] >= 0.85


def test_vtrace_is_at_least_as_fast_as_rlax():
  for length in (20, 100, 1000):
    for batch in (32, 256):
      rates = read_speed('vtrace_targets', f'T={length}, B={batch}')
      assert rates['ours']['median'] >= rates['rlax']['median']


def read_ablation():
  """Reads (trial, final return) of the full ablation, in its order."""
  with open(RESULTS / 'ablation' / 'results.csv', newline='') as file:
    rows = list(csv.DictReader(file))
  fields = design_lib.Trial._fields[:-1]
  finals = {
    tuple(row[name] for name in fields): float(row['final_return'])
    for row in rows
  }
  compared = {row['correction'] for row in rows}
  trials = [
    trial
    for trial in design_lib.trials(design_lib.FULL)
    if trial.correction in compared  # Later corrections have no results.
  ]
  assert len(rows) == len(trials) == 288
  return [(trial, finals[tuple(map(str, trial[:-1]))]) for trial in trials]


def numbers(text):
  return re.findall(r'-?\d+\.\d+', text)


def test_the_ablation_report_matches_its_runs():
  results, folder = read_ablation(), RESULTS / 'ablation'
  report = (folder / 'ablation.md').read_text()
  assert numbers(report_lib.page(results)) == numbers(report)
  assert len(numbers(report)) > 100
  runs = (folder / 'results.csv').read_text()
  assert report_lib.table_of_runs(results) == runs
