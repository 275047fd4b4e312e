"""The replay buffer: what it holds and samples, and how it enters a batch."""

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
from tests import comparing
from tests import running

T, E = 3, 4


def make_trajectory(number):
  """Unrolls that are told apart by everything in them."""
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


def numbers(of):
  """Which unrolls these are, from their rewards: `[N]`."""
  rewards = np.asarray(of.rows.timestep.reward)
  assert (rewards == rewards[0]).all()
  return rewards[0].astype(int)


def settings(**changes):
  return replay.Settings(**dict(num_unrolls=6, capacity=24, seed=3) | changes)


def replaying_run(logdir):
  """Of Catch, briefly: half of each batch from ten unrolls."""
  return running.config_for(
    lag=0,
    batch_size=4,
    replay_fraction=0.5,
    replay_capacity=10,
    num_frames=200,
    logdir=str(logdir),
  )


def test_first_in_first_out():
  held = ()
  for i in range(5):
    held = replay.add(held, [make_trajectory(i)], capacity=11)
  assert [numbers(t)[0] // E for t in held] == [3, 4]  # 8 of 11 unrolls.
  held = replay.add(held, [make_trajectory(i) for i in (5, 6, 7)], 11)
  assert [numbers(t)[0] // E for t in held] == [6, 7]


def test_adding_leaves_earlier_contents_as_they_were():
  before = replay.add((), [make_trajectory(0)], capacity=8)
  replay.add(before, [make_trajectory(1), make_trajectory(2)], capacity=8)
  assert [numbers(t)[0] for t in before] == [0]


def test_an_unroll_is_sampled_whole():
  contents = tuple(make_trajectory(i) for i in range(3))
  drawn = replay.sample(contents, 0, settings())
  assert drawn.rows.action.shape == (T + 1, 6)
  for i, number in enumerate(numbers(drawn)):
    kept, column = contents[number // E], number % E
    jax.tree.map(
      lambda x, y, i=i, c=column: np.testing.assert_array_equal(
        x[:, i], y[:, c]
      ),
      drawn.rows,
      kept.rows,
    )
    np.testing.assert_array_equal(drawn.core_state[i], kept.core_state[column])


def test_every_unroll_is_sampled_equally_often():
  contents = tuple(make_trajectory(i) for i in range(3))
  counts = np.zeros(3 * E)
  for number in range(500):
    drawn = replay.sample(contents, number, settings(num_unrolls=12))
    counts += np.bincount(numbers(drawn), minlength=3 * E)
  assert counts.sum() == 6000
  # 500 of each are expected; chi-squared of 11 exceeds 31 once in 1000.
  assert np.sum((counts - 500) ** 2 / 500) < 31


def test_samples_follow_from_seed_and_number():
  contents = tuple(make_trajectory(i) for i in range(3))

  def draw(number, seed):
    return list(numbers(replay.sample(contents, number, settings(seed=seed))))

  assert draw(5, 3) == draw(5, 3)
  assert draw(5, 3) != draw(6, 3) and draw(5, 3) != draw(5, 4)
  # Nor from their sum or product: the batches of two seeds have no overlap.
  assert draw(5, 3) != draw(4, 4) and draw(5, 3) != draw(3, 5)


def test_an_empty_buffer_cannot_be_sampled_from():
  with pytest.raises(ValueError, match='empty'):
    replay.sample((), 0, settings())


def batches(buffer, first=0, num_batches=5):
  coming = iter([make_rollout(i) for i in range(2 * first, 2 * num_batches)])
  return batcher.batches(lambda: next(coming, None), 2, 1, buffer)


def test_a_batch_is_new_and_replayed_and_counts_the_new_alone():
  old, buffer = set(), replay.ReplayBuffer(settings())
  for i, batch in enumerate(batches(buffer)):
    part = jax.tree.map(lambda x: x[0], batch.trajectory)
    there = numbers(part)
    np.testing.assert_array_equal(there[: 2 * E], 2 * i * E + np.arange(2 * E))
    # Of the last 24 unrolls: the new ones and those of two batches before.
    assert len(there) == 2 * E + 6
    assert set(there[2 * E :]) <= set(range((i - 2) * 2 * E, (i + 1) * 2 * E))
    old |= set(there[2 * E :]) - set(there[: 2 * E])
    assert batch.num_transitions == 2 * T * E
    assert list(batch.versions) == [2 * i, 2 * i + 1]
    assert len(buffer.state(i + 1)) == min(2 * (i + 1), 6)
  assert len(old) > 5


def test_a_buffer_resumes_where_it_was_saved():
  buffer = replay.ReplayBuffer(settings())
  straight = batches(buffer)
  # As of a checkpoint after update 2, while batches 3 and 4 are made already.
  made = [next(straight) for _ in range(4)]
  packed = replay.pack(buffer.state(2))
  contents = replay.unpack(packed, jax.devices()[0])
  resumed = batches(replay.ReplayBuffer(settings(), contents, 2), first=2)
  for old, new in zip([*made[2:], *straight], resumed, strict=True):
    jax.tree.map(np.testing.assert_array_equal, old.trajectory, new.trajectory)


def test_a_batch_is_sampled_by_its_own_number():
  before, new = make_trajectory(0), make_trajectory(1)
  buffer = replay.ReplayBuffer(settings(), (before,), num_updates=7)
  sampled = buffer.add_and_sample([new])
  expected = replay.sample((before, new), 7, settings())
  np.testing.assert_array_equal(numbers(sampled), numbers(expected))


def test_the_buffer_holds_its_contents_for_a_checkpoint_and_no_longer():
  buffer = replay.ReplayBuffer(settings(), (make_trajectory(99),), 7)
  assert len(buffer.state(7)) == 1
  for i in range(3):
    buffer.add_and_sample([make_trajectory(i)])
  # Update 8 has ended, 9 is running, and the batch of update 10 is prefetched.
  for num_updates in (8, 9, 10):
    (*_, newest) = buffer.state(num_updates)
    assert numbers(newest)[0] == E * (num_updates - 8)
  for num_updates in (7, 11):
    with pytest.raises(RuntimeError, match=f'after update {num_updates}'):
      buffer.state(num_updates)


@pytest.mark.slow
def test_what_was_restored_is_forgotten_in_its_time(tmp_path, monkeypatch):
  """Nothing but the buffer holds it: it would take up its memory for good."""
  running.see_one_device(monkeypatch)
  config = replaying_run(tmp_path / 'run')
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


def test_an_empty_buffer_is_packed_too():
  assert replay.unpack(replay.pack(()), jax.devices()[0]) == ()


def test_a_full_buffer_has_the_stated_size():
  contents = ()
  for i in range(5):
    contents = replay.add(contents, [make_trajectory(i)], capacity=11)
  on_device = jax.device_put(contents)  # Numbers of 64 bits have 32 there.
  total = sum(x.nbytes for x in jax.tree.leaves(on_device))
  assert replay.num_bytes(make_trajectory(0), capacity=11) == total


def test_a_run_says_how_much_it_takes_and_counts_new_frames(
  tmp_path, capsys, monkeypatch
):
  running.see_one_device(monkeypatch)
  summary = train.train(replaying_run(tmp_path / 'run'))
  # Nine of ten steps are transitions; an update has T steps of 2 environments.
  assert summary.num_updates == pytest.approx(200 / 7.2, abs=2)
  said = capsys.readouterr().out
  assert 'last 10 unrolls' in said and 'MiB at most' in said
  rows = comparing.read_rows(tmp_path / 'run')
  assert float(rows[-1]['mean_return']) < 1


@pytest.mark.parametrize(
  'changes,sentence',
  (
    (dict(replay_fraction=1.0), 'leaves 0 new unrolls'),
    (dict(replay_fraction=0.3), 'leaves 22.4 new unrolls'),
    (dict(replay_fraction=0.5, envs_per_actor=32), 'no multiple of'),
    (
      dict(replay_fraction=0.5, replay_capacity=15),
      '--replay_capacity=15 is less than the 16',
    ),
  ),
)
def test_what_cannot_be_replayed_is_refused(changes, sentence):
  config = config_lib.from_preset(
    'catch', **(dict(envs_per_actor=16) | changes)
  )
  with pytest.raises(config_lib.ConfigError, match=sentence):
    validation.validate(config, 1)
