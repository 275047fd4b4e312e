"""Counts of dispatches, transfers and compilations on the hot path."""

import collections
import gzip
import itertools
import json
import re

import jax
from jax import monitoring
import numpy as np
import pytest

from agents import actor
from agents import agent as agent_lib
from envs import catch
from experiments.training import pipeline
from experiments.training import rollout_order
from experiments.training import setup as setup_lib
from tests import running

T, B, ACTORS = 6, 4, 2
CONFIG = running.config_for(
  num_actors=ACTORS,
  envs_per_actor=B,
  batch_size=ACTORS * B,  # One rollout of each actor.
  unroll_length=T,
  use_lstm=True,
  num_frames=2**53,
)


@pytest.fixture
def training(monkeypatch):
  """Yields the progress of a training run on one device, after warm-up."""
  running.see_one_device(monkeypatch)
  with pipeline.running(setup_lib.make_setup(CONFIG)) as progress:
    take(progress, 20)
    yield progress


def take(progress, num_updates):
  """Waits for `num_updates` updates."""
  for _ in range(num_updates):
    next(progress)


def dispatches(folder):
  """Returns the number of calls of each compiled function in a trace."""
  (file,) = folder.rglob('perfetto_trace.json.gz')
  with gzip.open(file) as trace:
    events = json.load(trace)['traceEvents']
  names = (re.match(r'PjitFunction\((.*)\)', e.get('name', '')) for e in events)
  return collections.Counter(match[1] for match in names if match)


@pytest.mark.slow
def test_a_batch_takes_one_dispatch_per_step_and_few_more(training, tmp_path):
  # With this many updates, one more dispatch per batch exceeds the bound.
  updates = 200
  options = jax.profiler.ProfileOptions()
  options.python_tracer_level = 0  # Its events would fill the trace.
  with jax.profiler.trace(
    tmp_path, create_perfetto_trace=True, profiler_options=options
  ):
    take(training, updates)
  counts = dispatches(tmp_path)
  # T steps and one stacking per actor, one sharding and one update.
  # The number of batches that actors are ahead of the learner varies.
  a_batch = ACTORS * (T + 1) + 2
  most_ahead = rollout_order.max_policy_lag(CONFIG) + 2
  # The trace has two events per call.
  assert sum(counts.values()) <= 2 * a_batch * (updates + most_ahead)
  assert sum(counts.values()) >= 2 * ACTORS * T * (updates - most_ahead)


def test_nothing_is_compiled_after_warm_up(training):
  compiled = []

  def listen(event, duration, **kwargs):
    del duration, kwargs
    if 'compile' in event:
      compiled.append(event)

  monitoring.register_event_duration_secs_listener(listen)
  try:
    take(training, 20)
    assert not compiled
    jax.jit(lambda x: x + 41)(1)  # Sanity check of `listen`.
    assert compiled
  finally:
    monitoring.unregister_event_duration_listener(listen)


def test_a_step_takes_one_transfer_to_the_device_and_one_back(monkeypatch):
  agent = agent_lib.make_agent(
    catch.Catch(B, 0).observation_spec(),
    catch.Catch(B, 0).action_spec(),
    torso='mlp',
    use_lstm=True,
  )
  params = jax.jit(agent.init)(jax.random.key(0))
  rollouts = actor.rollouts(
    catch.Catch(B, 0),
    actor.make_act(agent),
    lambda: (0, params),
    state=actor.ActorState(jax.random.key(1), None),
    initial_core_state=agent.initial_state(B),
    unroll_length=T,
    actor_id=0,
  )
  list(itertools.islice(rollouts, 2))
  to_device, to_host = [], []
  put, asarray = jax.device_put, np.asarray

  def counted_put(tree, where):
    leaves = jax.tree.leaves(tree)
    if not all(isinstance(leaf, jax.Array) for leaf in leaves):
      to_device.append(tree)
    return put(tree, where)

  def counted_asarray(x, *args, **kwargs):
    if isinstance(x, jax.Array):
      to_host.append(x)
    return asarray(x, *args, **kwargs)

  monkeypatch.setattr(jax, 'device_put', counted_put)
  monkeypatch.setattr(np, 'asarray', counted_asarray)
  monkeypatch.setattr(jax, 'device_get', None)
  with jax.transfer_guard('disallow'):  # Forbids implicit ones.
    list(itertools.islice(rollouts, 3))
  assert [timestep.step_type.shape for timestep in to_device] == [(B,)] * 3 * T
  assert [(x.shape, x.dtype) for x in to_host] == [((B,), np.int32)] * 3 * T
