"""Tests of the replay buffer: contents, samples, batches, checkpoints."""

import contextlib
import gc
import weakref

import jax
import numpy as np
import pytest

from agents import batcher
from agents import replay
from agents import trajectory
from experiments import config as config_lib
from experiments import train
from experiments.records import run_logger
from experiments.training import validation
from tests import running

T, E = 3, 4


def make_trajectory(number):
  """Makes a trajectory whose unrolls differ in every field."""
  rng = np.random.default_rng(number)
  rows = trajectory.zero_rows(jax.ShapeDtypeStruct((2,), np.float32), T + 1, E)
  unroll = number * E + np.arange(E)
  timestep = rows.timestep._replace(
    reward=np.tile(unroll, (T + 1, 1)).astype(np.float32),
    observation=rng.normal(size=(T + 1, E, 2)).astype(np.float32),
  )
  rows = rows._replace(timestep=timestep)
  return trajectory.Trajectory(rows, core_state=unroll[:, None])


def make_rollout(number):
  return trajectory.Rollout(
    make_trajectory(number), 0, number, None, 0.0, T * E, [], []
  )


def numbers(unrolls):
  """Returns the numbers of the unrolls, from their rewards: `[N]`."""
  rewards = np.asarray(unrolls.rows.timestep.reward)
  assert (rewards == rewards[0]).all()
  return rewards[0].astype(int)


def settings(**changes):
  return replay.Settings(**dict(num_unrolls=6, capacity=24, seed=3) | changes)


def replay_config(logdir):
  """Returns a short run that replays half of each batch from 10 unrolls."""
  return running.config_for(
    lag=0,
    batch_size=4,
    replay_fraction=0.5,
    replay_capacity=10,
    num_frames=200,
    logdir=str(logdir),
  )


def test_the_buffer_is_first_in_first_out():
  held = ()
  for i in range(5):
    held = replay.add(held, [make_trajectory(i)], capacity=11)
  assert [numbers(t)[0] // E for t in held] == [3, 4]  # 8 of 11 unrolls.
  held = replay.add(held, [make_trajectory(i) for i in (5, 6, 7)], 11)
  assert [numbers(t)[0] // E for t in held] == [6, 7]


def test_adding_does_not_change_earlier_contents():
  before = replay.add((), [make_trajectory(0)], capacity=8)
  replay.add(before, [make_trajectory(1), make_trajectory(2)], capacity=8)
  assert [numbers(t)[0] for t in before] == [0]


def test_an_unroll_is_sampled_whole():
  contents = tuple(make_trajectory(i) for i in range(3))
  sampled = replay.sample(contents, 0, settings())
  assert sampled.rows.action.shape == (T + 1, 6)
  for i, number in enumerate(numbers(sampled)):
    added, column = contents[number // E], number % E
    jax.tree.map(
      lambda x, y, i=i, c=column: np.testing.assert_array_equal(
        x[:, i], y[:, c]
      ),
      sampled.rows,
      added.rows,
    )
    np.testing.assert_array_equal(
      sampled.core_state[i], added.core_state[column]
    )


def test_every_unroll_is_sampled_equally_often():
  contents = tuple(make_trajectory(i) for i in range(3))
  counts = np.zeros(3 * E)
  for number in range(500):
    sampled = replay.sample(contents, number, settings(num_unrolls=12))
    counts += np.bincount(numbers(sampled), minlength=3 * E)
  assert counts.sum() == 6000
  # Chi-squared with 11 degrees of freedom exceeds 31 with probability 0.001.
  assert np.sum((counts - 500) ** 2 / 500) < 31


def test_samples_are_determined_by_seed_and_batch_number():
  contents = tuple(make_trajectory(i) for i in range(3))

  def sample(number, seed):
    return list(numbers(replay.sample(contents, number, settings(seed=seed))))

  assert sample(5, 3) == sample(5, 3)
  assert sample(5, 3) != sample(6, 3) and sample(5, 3) != sample(5, 4)
  # A sum or product of both would give two seeds the same batches.
  assert sample(5, 3) != sample(4, 4) and sample(5, 3) != sample(3, 5)


def test_sampling_from_an_empty_buffer_raises_value_error():
  with pytest.raises(ValueError, match='empty'):
    replay.sample((), 0, settings())


def batches(buffer, first=0, num_batches=5):
  rollouts = iter([make_rollout(i) for i in range(2 * first, 2 * num_batches)])
  return batcher.batches(lambda: next(rollouts, None), 2, 1, buffer)


def test_a_batch_adds_replayed_unrolls_and_counts_only_new_ones():
  replayed, buffer = set(), replay.ReplayBuffer(settings())
  for i, batch in enumerate(batches(buffer)):
    part = jax.tree.map(lambda x: x[0], batch.trajectory)
    new, sampled = np.split(numbers(part), [2 * E])
    np.testing.assert_array_equal(new, 2 * i * E + np.arange(2 * E))
    # The last 24 unrolls are the new ones and those of the last two batches.
    assert len(sampled) == 6
    assert set(sampled) <= set(range((i - 2) * 2 * E, (i + 1) * 2 * E))
    replayed |= set(sampled) - set(new)
    assert batch.num_transitions == 2 * T * E
    assert list(batch.versions) == [2 * i, 2 * i + 1]
    assert len(buffer.state(i + 1)) == min(2 * (i + 1), 6)
  assert len(replayed) > 5


def test_a_restored_buffer_continues_with_the_same_batches():
  buffer = replay.ReplayBuffer(settings())
  uninterrupted = batches(buffer)
  # A checkpoint after update 2 is written when batches 3 and 4 exist already.
  made = [next(uninterrupted) for _ in range(4)]
  packed = replay.pack(buffer.state(2))
  contents = replay.unpack(packed, jax.devices()[0])
  resumed = batches(replay.ReplayBuffer(settings(), contents, 2), first=2)
  expected = [*made[2:], *uninterrupted]
  for a, b in zip(expected, resumed, strict=True):
    jax.tree.map(np.testing.assert_array_equal, a.trajectory, b.trajectory)


def test_a_batch_is_sampled_with_its_batch_number():
  before, new = make_trajectory(0), make_trajectory(1)
  buffer = replay.ReplayBuffer(settings(), (before,), num_updates=7)
  sampled = buffer.add_and_sample([new])
  expected = replay.sample((before, new), 7, settings())
  np.testing.assert_array_equal(numbers(sampled), numbers(expected))


def test_past_contents_are_held_only_while_a_checkpoint_needs_them():
  buffer = replay.ReplayBuffer(settings(), (make_trajectory(99),), 7)
  assert len(buffer.state(7)) == 1
  for i in range(3):
    buffer.add_and_sample([make_trajectory(i)])
  # Update 8 is complete, 9 is running, and the batch of 10 is prefetched.
  for num_updates in (8, 9, 10):
    (*_, newest) = buffer.state(num_updates)
    assert numbers(newest)[0] == E * (num_updates - 8)
  for num_updates in (7, 11):
    with pytest.raises(RuntimeError, match=f'update {num_updates}'):
      buffer.state(num_updates)


@pytest.mark.slow
def test_restored_contents_are_freed_after_replacement(tmp_path, monkeypatch):
  """Checks that only the buffer holds references to restored contents."""
  running.see_one_device(monkeypatch)
  config = replay_config(tmp_path / 'run')
  with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
    log = run_logger.RunLogger.log

    def interrupted(self, progress):
      log(self, progress)
      if progress.num_updates == 10:
        raise KeyboardInterrupt

    patch.setattr(run_logger.RunLogger, 'log', interrupted)
    train.train(config)
  restored, alive = [], []
  unpack, log = replay.unpack, run_logger.RunLogger.log

  def unpacked(packed, device):
    contents = unpack(packed, device)
    restored.extend(weakref.ref(x) for x in jax.tree.leaves(contents))
    return contents

  def counting(self, progress):
    log(self, progress)
    gc.collect()
    alive.append(sum(x() is not None for x in restored))

  monkeypatch.setattr(replay, 'unpack', unpacked)
  monkeypatch.setattr(run_logger.RunLogger, 'log', counting)
  train.train(config)
  assert len(restored) > 10 and alive[0] > 10
  assert alive[-1] == 0


def test_an_empty_buffer_can_be_packed():
  assert replay.unpack(replay.pack(()), jax.devices()[0]) == ()


def test_num_bytes_is_the_size_of_a_full_buffer():
  contents = ()
  for i in range(5):
    contents = replay.add(contents, [make_trajectory(i)], capacity=11)
  on_device = jax.device_put(contents)  # Converts 64-bit numbers to 32 bits.
  total = sum(x.nbytes for x in jax.tree.leaves(on_device))
  assert replay.num_bytes(make_trajectory(0), capacity=11) == total


@pytest.mark.slow
def test_a_run_prints_the_buffer_size_and_counts_only_new_frames(
  tmp_path, capsys, monkeypatch
):
  running.see_one_device(monkeypatch)
  summary = train.train(replay_config(tmp_path / 'run'))
  # 9 of 10 steps are transitions; an update has 4 steps of 2 environments.
  assert summary.num_updates == pytest.approx(200 / 7.2, abs=2)
  output = capsys.readouterr().out
  assert '10 unrolls' in output and 'MiB' in output


@pytest.mark.parametrize(
  'changes,message',
  (
    (dict(replay_fraction=1.0), '--replay_fraction=1.0'),
    (dict(replay_fraction=0.3), '22.4'),
    (dict(replay_fraction=0.5, envs_per_actor=32), '--envs_per_actor=32'),
    (dict(replay_fraction=0.5, replay_capacity=15), '--replay_capacity=15'),
  ),
)
def test_invalid_replay_settings_raise_config_error(changes, message):
  config = config_lib.from_preset(
    'catch', **(dict(envs_per_actor=16) | changes)
  )
  with pytest.raises(config_lib.ConfigError, match=message):
    validation.validate(config, 1)
