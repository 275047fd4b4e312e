"""The flight recorder, and the recomputation of the updates it records."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from agents import learner
from agents import loss_interface
from experiments import config as config_lib
from experiments import recompute
from experiments import train
from experiments.debugging import flight_recorder
from experiments.debugging import recomputation
from experiments.training import setup as setup_lib
from tests import running


def train_into(logdir, **settings):
  config = running.one_actor_config(
    num_frames=2_000, logdir=str(logdir), **settings
  )
  return train.train(config)


@pytest.fixture
def poisoned(monkeypatch, one_device):
  """Replaces one reward of the fifth batch by NaN."""
  make_place = learner.make_place

  def make_poisoning(devices):
    place, count = make_place(devices), iter(range(1, 10**6))

    def place_poisoned(batch):
      if next(count) == 5:
        rows = batch.trajectory.rows
        rewards = rows.timestep.reward.at[0, 2, 3].set(np.nan)
        rows = rows._replace(timestep=rows.timestep._replace(reward=rewards))
        batch = batch._replace(trajectory=batch.trajectory._replace(rows=rows))
      return place(batch)

    return place_poisoned

  monkeypatch.setattr(learner, 'make_place', make_poisoning)


@pytest.mark.usefixtures('poisoned')
@pytest.mark.parametrize('debug_nans', (False, True))
@pytest.mark.slow
def test_a_run_that_diverges_stops_at_once_and_can_be_recomputed(
  debug_nans, tmp_path, capsys
):
  with pytest.raises(flight_recorder.NonFiniteError, match='Update 5') as info:
    train_into(tmp_path / 'run', use_lstm=True, debug_nans=debug_nans)
  file = tmp_path / 'run' / 'flight.npz'
  assert str(file) in str(info.value)
  # With debug_nans JAX names the computation.
  assert ('(nan) encountered in' in str(info.value)) == debug_nans
  assert not jax.config.jax_debug_nans

  flight = recomputation.read(file)
  assert flight.num_updates == 4 and len(flight.inputs) == 3
  with np.load(file) as saved:
    assert 'actors/0/key' in saved
    assert json.loads(str(saved['config']))['use_lstm'] is True
  # Each recomputed update gives the train state that the next one starts from.
  for inputs, after in zip(flight.inputs, flight.inputs[1:]):
    state, _ = jax.jit(flight.update)(*inputs)
    jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6),
      state,
      after.train_state,
    )
  capsys.readouterr()
  recompute.main([str(file)])
  lines = capsys.readouterr().out.splitlines()
  assert [line.split(':')[0] for line in lines[:3]] == [
    'Update 3',
    'Update 4',
    'Update 5',
  ]
  assert 'loss nan' in lines[2] and 'nan' not in lines[1]
  assert 'trajectory/rows/timestep/reward' in lines[3]
  assert '[0, 2, 3]' in lines[3]


@pytest.mark.usefixtures('one_device')
@pytest.mark.slow
def test_debug_nans_does_not_change_a_finite_run(tmp_path):
  one, other = (
    train_into(tmp_path / name, debug_nans=debug_nans, log_updates=5)
    for name, debug_nans in (('one', True), ('other', False))
  )
  assert one.num_updates == other.num_updates > 5
  assert one.mean_return == other.mean_return


def make_recorder(update, tmp_path):
  run = type('Run', (), dict(num_updates=6, actors=()))
  config = config_lib.from_preset('catch')
  return flight_recorder.FlightRecorder(
    update, config, run, tmp_path / 'flight.npz'
  )


def finite_update(*args):
  return args[0], {'loss': 1.0, 'finite': np.array(True)}


def test_a_finite_update_passes_through_and_writes_nothing(tmp_path):
  state, metrics = make_recorder(finite_update, tmp_path)({'w': 1.0}, {}, 0.1)
  assert state == {'w': 1.0} and metrics == {'loss': 1.0}
  assert not list(tmp_path.iterdir())


def test_the_inputs_of_the_last_three_updates_are_saved(tmp_path):
  def diverges_at_last(state, trajectory, rate):
    norms = dict.fromkeys(loss_interface.NORMS, np.float32(np.inf))
    return state, norms | {'finite': np.array(rate < 5.0)}

  recorder = make_recorder(diverges_at_last, tmp_path)
  for i in range(5):
    recorder({'w': float(i)}, {'reward': 10.0 * i}, float(i))
  with pytest.raises(
    flight_recorder.NonFiniteError, match='Update 7.*loss inf'
  ):
    recorder({'w': 5.0}, {'reward': 50.0}, 5.0)
  with np.load(tmp_path / 'flight.npz') as saved:
    assert saved['num_inputs'] == 3 and saved['num_updates'] == 6
    for i in range(3):
      assert saved[f'inputs/{i}/train_state/w'] == i + 3
      assert saved[f'inputs/{i}/trajectory/reward'] == 10 * (i + 3)
      assert saved[f'inputs/{i}/learning_rate'] == i + 3


@pytest.mark.parametrize('name', loss_interface.NORMS)
def test_a_norm_that_is_not_finite_is_detected(name):
  metrics = dict.fromkeys(loss_interface.NORMS, 1.0)
  assert learner._finite(metrics)
  for value in (np.inf, -np.inf, np.nan):
    assert not learner._finite(metrics | {name: value})


def test_an_error_is_raised_even_if_its_record_cannot_be_written(tmp_path):
  def not_finite(*args):
    norms = dict.fromkeys(loss_interface.NORMS, np.nan)
    return args[0], norms | {'finite': np.array(False)}

  recorder = make_recorder(not_finite, tmp_path / 'missing')
  with pytest.raises(flight_recorder.NonFiniteError, match='lost'):
    recorder({}, {}, 0.1)


@pytest.mark.parametrize('contents', (b'', b'nonsense', None))
def test_an_invalid_record_raises_config_error(contents, tmp_path):
  file = tmp_path / 'flight.npz'
  if contents is not None:
    file.write_bytes(contents)
  match = 'no file' if contents is None else 'flight record'
  with pytest.raises(config_lib.ConfigError, match=match):
    recompute.main([str(file)])
  with pytest.raises(config_lib.ConfigError, match='one file'):
    recompute.main([])


def test_unknown_settings_of_a_record_are_named(tmp_path):
  config = json.dumps({'env': 'Catch', 'unknown_flag': 1})
  file = tmp_path / 'flight.npz'
  np.savez(file, config=np.array(config), num_updates=0, num_inputs=0)
  with pytest.raises(config_lib.ConfigError, match='unknown_flag'):
    recompute.main([str(file)])


@pytest.mark.slow
def test_recomputing_finite_updates_reports_finite_arrays(tmp_path, capsys):
  config = running.config_for(num_actors=1, unroll_length=3)
  setup = setup_lib.make_setup(config)
  state = setup.run.train_state
  with running.acting(setup) as queue:
    trajectory = queue.get().trajectory
  trajectory = jax.tree.map(lambda x: x[None], trajectory)
  run = type('Run', (), dict(num_updates=0, actors=()))
  recorder = flight_recorder.FlightRecorder(
    lambda *args: (None, dict.fromkeys((*loss_interface.NORMS, 'finite'), 0)),
    dataclasses.replace(config, logdir=str(tmp_path)),
    run,
    tmp_path / 'flight.npz',
  )
  with pytest.raises(flight_recorder.NonFiniteError):
    recorder(state, trajectory, 0.1)
  recompute.main([str(tmp_path / 'flight.npz')])
  assert 'is finite' in capsys.readouterr().out
