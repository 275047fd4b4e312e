"""The stages of training, each alone and all together, to be timed.

They are made of the same parts as training. What a stage works on was really
played, and whatever it starts it waits for.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent import futures
import contextlib
import dataclasses
import itertools
import math
import time
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from agents import actor
from agents import learner
from agents import trajectory
from agents import trajectory_queue
from envs import environment
from experiments import config as config_lib
from experiments.training import builders
from experiments.training import pipeline
from experiments.training import rollout_order
from experiments.training import setup as setup_lib

NAMES = ('environment', 'transfer', 'inference', 'queue', 'update')
WHOLE = 'whole'
_REST_SECONDS = 30.0  # At most; then what comes is measured beside the actors.
_LOOK_SECONDS = 0.1
_RESTING = 0.2  # Of one processor: threads that wait look now and then.


class Reading(NamedTuple):
  """What one measurement says."""

  steps_per_second: float  # Agent steps.
  cpu_seconds_per_step: float  # Of all the process's threads, added up.


Measure = Callable[[float], Reading]  # Measures for so many seconds.


def make_timer(calls: Sequence[Callable[[], Any]], steps: int) -> Measure:
  """Measures calls worth so many agent steps, each in a thread of its own."""

  def measure(seconds):
    start, cpu = time.perf_counter(), time.process_time()

    def count(call):
      number = 0
      while not number or time.perf_counter() - start < seconds:
        call()
        number += 1
      return number

    with futures.ThreadPoolExecutor(len(calls)) as threads:
      total = steps * sum(threads.map(count, calls))
    elapsed = time.perf_counter() - start
    return Reading(total / elapsed, (time.process_time() - cpu) / total)

  return measure


def stage_timers(setup: setup_lib.Setup) -> dict[str, Measure]:
  """Returns a timer for every stage by itself, in the order of `NAMES`.

  All environments step at once, as in training; all else is of one actor.
  """
  config = setup.config
  act, params = actor.make_act(setup.agent), _params(setup)
  rollouts = actor.rollouts(
    setup.envs[0],
    act,
    lambda: (0, params),
    state=setup.run.actors[0],
    initial_core_state=setup.agent.initial_state(config.envs_per_actor),
    unroll_length=config.unroll_length,
    actor_id=0,
  )
  rollout = list(itertools.islice(rollouts, 2))[-1]
  batch_steps = rollout_order.new_unrolls(config) * config.unroll_length
  envs = [_environment(setup, env) for env in setup.envs]
  calls = (
    (envs, config.envs_per_actor),
    ([_transfer(setup)], config.envs_per_actor),
    ([_inference(setup, act, rollout)], config.envs_per_actor),
    ([_queue(setup, rollout)], batch_steps),
    ([_update(setup, rollout)], batch_steps),
  )
  return {
    name: make_timer(*call) for name, call in zip(NAMES, calls, strict=True)
  }


@contextlib.contextmanager
def timing_stages(config: config_lib.Config) -> Iterator[dict[str, Measure]]:
  """Gives `stage_timers` of a run of `config`; closes it on leaving."""
  with contextlib.closing(setup_lib.make_setup(config)) as setup:
    yield stage_timers(setup)


@contextlib.contextmanager
def timing_training(setup: setup_lib.Setup) -> Iterator[Measure]:
  """The whole training; between measurements it stands still."""
  # It waits for as long as others are measured.
  config = dataclasses.replace(setup.config, timeout_seconds=math.inf)
  with pipeline.running(setup._replace(config=config)) as progress:

    def measure(seconds):
      # What had been acted ahead does not count.
      for _ in range(rollout_order.max_policy_lag(config) + 1):
        next(progress)
      steps, start, cpu = 0, time.perf_counter(), time.process_time()
      while not steps or time.perf_counter() - start < seconds:
        next(progress)
        steps += rollout_order.new_unrolls(config) * config.unroll_length
      elapsed = time.perf_counter() - start
      cpu = time.process_time() - cpu
      _come_to_rest()
      return Reading(steps / elapsed, cpu / steps)

    yield measure


def _come_to_rest() -> None:
  """Waits until actors have filled their rings, and only look for room."""
  deadline = time.perf_counter() + _REST_SECONDS
  while time.perf_counter() < deadline:
    before = time.process_time()
    time.sleep(_LOOK_SECONDS)
    if time.process_time() - before < _RESTING * _LOOK_SECONDS:
      return


def _params(setup: setup_lib.Setup) -> Any:
  return learner.local_params(setup.run.train_state)


def _environment(
  setup: setup_lib.Setup, env: environment.Environment
) -> Callable[[], Any]:
  """Steps with random actions."""
  config = setup.config
  env.reset()
  rng = np.random.default_rng(0)
  shape = (100, config.envs_per_actor)
  actions = rng.integers(env.action_spec().num_values, size=shape)
  coming = itertools.cycle(actions.astype(np.int32))
  return lambda: env.step(next(coming))


def _transfer(setup: setup_lib.Setup) -> Callable[[], Any]:
  """A timestep of all environments, from the host to the device."""
  timestep, params = setup.envs[0].reset(), _params(setup)
  return lambda: jax.block_until_ready(actor.put_like(params, timestep))


def _inference(
  setup: setup_lib.Setup, act: Callable[..., Any], rollout: trajectory.Rollout
) -> Callable[[], Any]:
  """From an arrival on the device to actions on the host."""
  params = _params(setup)
  row = jax.tree.map(lambda x: x[0], rollout.trajectory.rows)
  key = actor.put_like(params, rollout.state.key)
  core_state = rollout.trajectory.core_state
  return lambda: np.asarray(act(params, key, row, core_state)[0].action)


def _queue(
  setup: setup_lib.Setup, rollout: trajectory.Rollout
) -> Callable[[], Any]:
  """From an actor's rows, through its ring, to a batch on the devices."""
  config = setup.config
  queue = trajectory_queue.TrajectoryQueue(1, 1, config.timeout_seconds)
  place = learner.make_place(setup.devices)
  rows = [
    jax.tree.map(lambda x, t=t: x[t], rollout.trajectory.rows)
    for t in range(config.unroll_length + 1)
  ]

  def pass_on():
    stacked = rollout.trajectory._replace(rows=actor.stack(rows))
    queue.put(0, rollout._replace(trajectory=stacked))
    return queue.get()

  replay_buffer = builders.make_replay_buffer(config)
  batches = builders.batches(config, pass_on, len(setup.devices), replay_buffer)
  return lambda: jax.block_until_ready(place(next(batches)).trajectory)


def _update(
  setup: setup_lib.Setup, rollout: trajectory.Rollout
) -> Callable[[], Any]:
  """The learner's update of one batch."""
  config, devices = setup.config, setup.devices
  replay_buffer = builders.make_replay_buffer(config)
  batch = next(
    builders.batches(config, lambda: rollout, len(devices), replay_buffer)
  )
  trajectories = learner.place(batch.trajectory, devices)
  state, update = setup.run.train_state, setup_lib.compile_update(setup)
  return lambda: jax.block_until_ready(
    update(state, trajectories, config.learning_rate)
  )
