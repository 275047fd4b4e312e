"""Trainings that follow each other in one process keep nothing alive."""

import gc
import weakref

import jax
import pytest

from experiments import config as config_lib
from experiments import train
from experiments.training import setup as setup_lib

pytestmark = pytest.mark.usefixtures('one_device')


def test_nothing_of_a_training_stays_in_memory(tmp_path, monkeypatch):
  kept = []
  make_setup = setup_lib.make_setup

  def watched(*args, **kwargs):
    setup = make_setup(*args, **kwargs)
    parts = setup.agent.step, setup.update, setup.envs[0]
    kept.extend(weakref.ref(part) for part in parts)
    kept.append(weakref.ref(jax.tree.leaves(setup.run.train_state)[0]))
    return setup

  monkeypatch.setattr(setup_lib, 'make_setup', watched)
  gc.collect()
  before = len(jax.live_arrays())
  config = config_lib.from_preset(
    'catch', num_frames=2_000, logdir=str(tmp_path / 'run')
  )
  train.train(config)
  gc.collect()
  assert len(kept) == 4 and not any(part() for part in kept)
  assert len(jax.live_arrays()) <= before
