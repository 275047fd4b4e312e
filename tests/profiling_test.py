"""Tests of the profiler: measurements, bound, suggestions and tuning."""

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
import threading
import types

import jax
import pytest

from experiments import benchmark
from experiments import config as config_lib
from experiments.profiling import bound as bound_lib
from experiments.profiling import search
from experiments.profiling import stages
from experiments.profiling import suggestions
from experiments.training import setup as setup_lib
from experiments.training import validation
from tests import running


def make_throughputs(**changes):
  """Makes throughputs from (wall-clock, CPU) microseconds per agent step."""
  costs = dict(
    environment=(200, 300),
    transfer=(5, 10),
    inference=(60, 90),
    queue=(5, 10),
    update=(250, 390),
    whole=(500, 900),
  )
  return {
    name: bound_lib.Throughput(0.9e6 / wall, 1e6 / wall, cpu * 1e-6)
    for name, (wall, cpu) in (costs | changes).items()
  }


def test_a_rate_has_the_median_and_best_speed_and_the_least_cost():
  readings = [stages.Reading(s, c) for s, c in ((5, 4.0), (9, 2.0), (6, 3.0))]
  assert bound_lib.throughput(readings) == bound_lib.Throughput(6, 9, 2.0)


@pytest.mark.parametrize(
  'cores,on_accelerator,changes,expected,reason',
  (
    (2, False, {}, 2 / 800e-6, '2 cores'),
    (8, False, {}, 1 / 250e-6, 'learner'),  # The cores allow 10,000.
    (8, False, {'environment': (300, 300)}, 1 / 300e-6, 'environments'),
    (8, True, {}, 1 / 320e-6, 'device'),
    (2, True, {}, 2 / 800e-6, '2 cores'),
    (64, True, {'inference': (0.1, 90)}, 1 / 260.1e-6, 'device'),
  ),
)
def test_the_bound_is_the_minimum_over_the_resources(
  cores, on_accelerator, changes, expected, reason
):
  bound = bound_lib.bound(make_throughputs(**changes), cores, on_accelerator)
  assert bound.steps_per_second == pytest.approx(expected)
  assert reason in bound.reason


def test_shares_are_of_cpu_time_or_of_device_time():
  shares = bound_lib.shares(make_throughputs(), on_accelerator=False)
  assert shares['environment'] == pytest.approx(300 / 900)
  assert shares['rest'] == pytest.approx(100 / 900)
  assert sum(shares.values()) == pytest.approx(1) and len(shares) == 6
  shares = bound_lib.shares(
    make_throughputs(whole=(500, 700)), on_accelerator=False
  )
  assert shares['rest'] == 0 and shares['environment'] == pytest.approx(
    300 / 800
  )
  shares = bound_lib.shares(make_throughputs(), on_accelerator=True)
  assert 'environment' not in shares
  assert shares['update'] == pytest.approx(250 / 320)


@pytest.mark.parametrize(
  'bound,faster,expected',
  ((2_500, 1.2, 0.2), (2_500, 0.9, None), (2_050, 2, None)),
)
def test_another_actor_is_suggested_if_it_is_faster(
  bound, faster, expected, monkeypatch
):
  def compared(configs, seconds):
    assert [c.num_actors for c in configs] == [2, 3] and seconds == 4.0
    return sorted(((faster, configs[1]), (1.0, configs[0])), reverse=True)

  monkeypatch.setattr(search, 'compare', compared)
  config = config_lib.Config(num_actors=2)
  throughputs = make_throughputs(whole=(450, 900))  # 2,000 steps a second.
  found = list(
    suggestions.another_actor(
      config, throughputs, bound_lib.Bound(bound, ''), seconds=4.0
    )
  )
  if expected is None:
    assert not found
  else:
    assert found[0].flags == {'num_actors': 3}
    assert found[0].gain == pytest.approx(expected)


def test_no_other_actor_is_tried_with_a_fixed_lag(monkeypatch):
  monkeypatch.setattr(search, 'compare', lambda *_: pytest.fail('measured'))
  config = config_lib.Config(num_actors=2, lag=0)
  bound = bound_lib.Bound(9_999.0, '')
  assert not list(
    suggestions.another_actor(config, make_throughputs(), bound, 1.0)
  )


def flags_of(config, *args):
  return [
    candidate.flags for candidate in suggestions.alternatives(config, *args)
  ]


def test_alternatives_are_valid_configurations():
  config = config_lib.Config(envs_per_actor=16, batch_size=32)
  on_cpu, on_gpu = flags_of(config, 1, False), flags_of(config, 4, True)
  assert on_cpu == [
    {'envs_per_actor': 32},
    {'envs_per_actor': 8},
    {'unrolls_per_pass': 2},  # 1 is the default of the deep torso on a CPU.
    {'unrolls_per_pass': 4},
  ]
  assert on_gpu == [*on_cpu[:2], {'precision': 'bf16'}]
  replaying = dataclasses.replace(config, replay_fraction=0.5, torso='mlp')
  assert flags_of(replaying, 1, False) == [{'envs_per_actor': 8}]
  one = dataclasses.replace(config, envs_per_actor=1, batch_size=1, torso='mlp')
  assert flags_of(one, 1, False) == []
  for flags in on_cpu:
    validation.validate(dataclasses.replace(config, **flags), 1)


def test_the_gain_of_a_change_follows_from_its_stages(monkeypatch):
  """Doubles the environments in a fake where this halves the acting time."""

  @contextlib.contextmanager
  def fake(config):
    speed = config.envs_per_actor
    yield dict.fromkeys(
      stages.NAMES, lambda seconds: stages.Reading(speed, 1 / speed)
    )

  monkeypatch.setattr(stages, 'timing_stages', fake)
  config = config_lib.Config(envs_per_actor=16, torso='mlp')
  find_bound = lambda throughputs: bound_lib.bound(throughputs, 2, False)
  found = suggestions.estimated(
    config,
    make_throughputs(),
    find_bound,
    suggestions.alternatives(config, 1, False),
    seconds=1.0,
  )
  (best,) = found  # Half as many environments are slower: no suggestion.
  assert best.flags == {'envs_per_actor': 32}
  assert best.gain == pytest.approx(800 / (150 + 5 + 45 + 10 + 390) - 1)


def test_a_changed_stage_is_scaled_by_the_measured_ratios():
  old = lambda seconds: stages.Reading(10.0, 0.4)
  new = lambda seconds: stages.Reading(20.0, 0.1)
  changed = suggestions._changed(
    bound_lib.Throughput(3.0, 5.0, 0.8), old, new, 1.0
  )
  assert changed == pytest.approx((6.0, 10.0, 0.2))


def test_tuning_measures_every_valid_combination(monkeypatch):
  measured = []

  @contextlib.contextmanager
  def fake(config):
    measured.append(config)
    yield lambda seconds: stages.Reading(config.envs_per_actor, 0.0)

  monkeypatch.setattr(setup_lib, 'make_setup', lambda config: config)
  monkeypatch.setattr(stages, 'timing_training', fake)
  config = config_lib.Config(envs_per_actor=32, batch_size=32)
  found = list(search.measure_each(search.combinations(config, 1), seconds=1.0))
  assert [changed for _, changed in found] == measured
  sizes = {(c.envs_per_actor, c.batch_size) for c in measured}
  assert sizes == {(8, 32), (16, 32), (32, 32)} | {
    (envs, 64) for envs in (8, 16, 32, 64)
  }
  assert {c.num_actors for c in measured} == {1, 2, 3, 4}


def test_the_best_are_compared_in_interleaved_rounds(monkeypatch):
  measured = []

  @contextlib.contextmanager
  def fake(config):
    def measure(seconds):
      measured.append(config.num_actors)
      is_outlier = config.num_actors == 1 and len(measured) == 1
      return stages.Reading(99.0 if is_outlier else config.num_actors, 0.0)

    yield measure

  monkeypatch.setattr(setup_lib, 'make_setup', lambda config: config)
  monkeypatch.setattr(stages, 'timing_training', fake)
  configs = [config_lib.Config(num_actors=n) for n in (1, 3, 2)]
  found = search.compare(configs, seconds=1.0)
  assert found == [(3, configs[1]), (2, configs[2]), (1, configs[0])]
  assert measured == [1, 3, 2] * 3


def test_tuning_an_invalid_config_raises_config_error():
  config = running.config_for(torso='wide')
  with pytest.raises(config_lib.ConfigError, match='--torso'):
    next(search.measure_each([config], seconds=0.1))


class Clock:
  """A fake clock that advances only when a call spends time."""

  def __init__(self, monkeypatch):
    self.now, self.cpu = 0.0, 0.0
    fake = types.SimpleNamespace(
      perf_counter=lambda: self.now,
      process_time=lambda: self.cpu,
      sleep=self.spend,
    )
    monkeypatch.setattr(stages, 'time', fake)

  def spend(self, seconds, share_of_a_core=0.0):
    """Advances the clock, and the CPU time by a share of it."""
    self.now += seconds
    self.cpu += share_of_a_core * seconds


def test_throughput_and_cpu_time_are_per_agent_step(monkeypatch):
  clock = Clock(monkeypatch)
  timer = stages.make_timer([lambda: clock.spend(0.25, 0.5)], steps=10)
  reading = timer(1.0)  # Four calls of 10 steps.
  assert reading.steps_per_second == pytest.approx(40.0)
  assert reading.cpu_seconds_per_step == pytest.approx(0.125 / 10)


def test_every_call_is_timed_in_a_separate_thread():
  barrier = threading.Barrier(2, timeout=60)  # Each waits for the other.
  reading = stages.make_timer([barrier.wait] * 2, steps=10)(0.0)
  assert reading.steps_per_second > 0


@pytest.mark.parametrize(
  'loads,num_polls',
  (((0.9, 0.5, 0.001), 3), ((0.0,), 1), ((0.9,) * 10**4, None)),
)
def test_a_measurement_waits_until_the_actors_are_idle(
  loads, num_polls, monkeypatch
):
  clock, polled = Clock(monkeypatch), []

  def sleep(seconds):
    polled.append(loads[len(polled)])
    clock.spend(seconds, polled[-1])

  stages.time.sleep = sleep
  stages._wait_until_idle()
  if num_polls:
    assert len(polled) == num_polls
  else:  # They never become idle, so the wait ends at its deadline.
    assert clock.now == pytest.approx(stages._IDLE_TIMEOUT_SECONDS, rel=0.1)


def test_all_stages_and_complete_training_are_measured(monkeypatch):
  running.see_one_device(monkeypatch)
  config = running.config_for(num_frames=2**53, use_lstm=True, batch_size=4)
  throughputs, frames_per_step = benchmark.measure(
    config, seconds=0.05, rounds=2
  )
  assert list(throughputs) == [*stages.NAMES, 'whole'] and frames_per_step == 1
  for throughput in throughputs.values():
    assert (
      0 < throughput.median <= throughput.best
      and throughput.cpu_seconds_per_step > 0
    )


@pytest.mark.slow
def test_the_script_prints_its_table_and_stores_it(tmp_path):
  file = tmp_path / 'catch.json'
  command = [sys.executable, '-m', 'experiments.benchmark', '--preset=catch']
  flags = ['--seconds=0.1', '--rounds=1', f'--json={file}', '--num_actors=1']
  done = subprocess.run([*command, *flags], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  record = json.loads(file.read_text())
  assert record['hardware']['jax'] == jax.__version__
  assert record['config']['env'] == 'Catch'
  for name in (*stages.NAMES, 'whole', 'rest', 'bound'):
    assert name in done.stdout
  whole = record['stages']['whole']['median']
  bound = record['bound']['steps_per_second']
  assert record['share_of_bound'] == pytest.approx(whole / bound)
  assert f'{whole:,.0f}' in done.stdout
  for change in record['advice']:
    assert set(change['flags']) <= {
      f.name for f in dataclasses.fields(config_lib.Config)
    }


@pytest.mark.slow
def test_the_script_logs_progress_and_exits_on_ctrl_c():
  command = [sys.executable, '-m', 'experiments.benchmark', '--preset=catch']
  with subprocess.Popen(
    [*command, '--rounds=1000'],
    stderr=subprocess.PIPE,
    text=True,
    # A background job of a shell ignores SIGINT, and its children inherit that.
    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
  ) as process:
    try:
      measuring = any('round 1' in line for line in process.stderr)
      process.send_signal(signal.SIGINT)
      rest = process.communicate(timeout=60)[1]
    finally:
      process.kill()  # On exit, Popen waits for the process.
  assert measuring, rest
  assert process.returncode == 130, rest
  assert 'Traceback' not in rest and 'Interrupted' in rest


def test_an_unwritable_json_file_prints_one_line():
  command = [sys.executable, '-m', 'experiments.benchmark', '--preset=catch']
  done = subprocess.run(
    [*command, '--json=/nowhere/x.json'], capture_output=True, text=True
  )
  assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
  assert '/nowhere/x.json' in done.stderr
