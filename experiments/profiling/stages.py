"""Timers of the stages of training, each stage alone and all together.

The stages use the same components as training, on data from real rollouts.
Each call blocks until the work that it dispatched is complete.
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
# After this time the next measurement starts even if actors are still active.
_IDLE_TIMEOUT_SECONDS = 30.0
_IDLE_POLL_SECONDS = 0.1
_IDLE_CPU_SHARE = 0.2  # Of one core: sleeping threads use none.


class Reading(NamedTuple):
  """The result of one measurement."""

  steps_per_second: float  # Agent steps.
  cpu_seconds_per_step: float  # Sum over all threads of the process.


Measure = Callable[[float], Reading]  # Measures for the given seconds.


def make_timer(calls: Sequence[Callable[[], Any]], steps: int) -> Measure:
  """Makes a timer that repeats each call in a separate thread.

  Args:
    calls: functions without arguments, called until the time is up.
    steps: agent steps that one call stands for.
  """

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
  """Returns a timer for each stage alone, by name, in the order of `NAMES`.

  The environments of all actors step in parallel, as in training. Each other
  stage runs in one thread, on data of actor 0.
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
  """Yields the `stage_timers` of a run of `config`; closes the run on exit."""
  with contextlib.closing(setup_lib.make_setup(config)) as setup:
    yield stage_timers(setup)


@contextlib.contextmanager
def timing_training(setup: setup_lib.Setup) -> Iterator[Measure]:
  """Yields a timer of the complete training, which pauses between calls."""
  # A pause has no upper limit, so the timeouts of the run must not expire.
  config = dataclasses.replace(setup.config, timeout_seconds=math.inf)
  with pipeline.running(setup._replace(config=config)) as progress:

    def measure(seconds):
      # Excludes batches whose rollouts were collected before the measurement.
      for _ in range(rollout_order.max_policy_lag(config) + 1):
        next(progress)
      steps, start, cpu = 0, time.perf_counter(), time.process_time()
      while not steps or time.perf_counter() - start < seconds:
        next(progress)
        steps += rollout_order.new_unrolls(config) * config.unroll_length
      elapsed = time.perf_counter() - start
      cpu = time.process_time() - cpu
      _wait_until_idle()
      return Reading(steps / elapsed, cpu / steps)

    yield measure


def _wait_until_idle() -> None:
  """Waits until the actors have filled their rings and sleep."""
  deadline = time.perf_counter() + _IDLE_TIMEOUT_SECONDS
  while time.perf_counter() < deadline:
    before = time.process_time()
    time.sleep(_IDLE_POLL_SECONDS)
    if time.process_time() - before < _IDLE_CPU_SHARE * _IDLE_POLL_SECONDS:
      return


def _params(setup: setup_lib.Setup) -> Any:
  return learner.local_params(setup.run.train_state)


def _environment(
  setup: setup_lib.Setup, env: environment.Environment
) -> Callable[[], Any]:
  """Returns a function that steps `env` once with random actions."""
  config = setup.config
  env.reset()
  rng = np.random.default_rng(0)
  shape = (100, config.envs_per_actor)
  actions = rng.integers(env.action_spec().num_values, size=shape)
  next_actions = itertools.cycle(actions.astype(np.int32))
  return lambda: env.step(next(next_actions))


def _transfer(setup: setup_lib.Setup) -> Callable[[], Any]:
  """Returns a function that copies a batched timestep from host to device."""
  timestep, params = setup.envs[0].reset(), _params(setup)
  return lambda: jax.block_until_ready(actor.put_like(params, timestep))


def _inference(
  setup: setup_lib.Setup, act: Callable[..., Any], rollout: trajectory.Rollout
) -> Callable[[], Any]:
  """Returns a function that maps a row on the device to actions on the host."""
  params = _params(setup)
  row = jax.tree.map(lambda x: x[0], rollout.trajectory.rows)
  key = actor.put_like(params, rollout.state.key)
  core_state = rollout.trajectory.core_state
  return lambda: np.asarray(act(params, key, row, core_state)[0].action)


def _queue(
  setup: setup_lib.Setup, rollout: trajectory.Rollout
) -> Callable[[], Any]:
  """Returns a function that makes a batch on the devices from an actor's rows.

  It stacks the rows, passes them through the actor's ring and batches them.
  """
  config = setup.config
  queue = trajectory_queue.TrajectoryQueue(1, 1, config.timeout_seconds)
  place = learner.make_place(setup.devices)
  rows = [
    jax.tree.map(lambda x, t=t: x[t], rollout.trajectory.rows)
    for t in range(config.unroll_length + 1)
  ]

  def put_and_get():
    stacked = rollout.trajectory._replace(rows=actor.stack(rows))
    queue.put(0, rollout._replace(trajectory=stacked))
    return queue.get()

  replay_buffer = builders.make_replay_buffer(config)
  batches = builders.batches(
    config, put_and_get, len(setup.devices), replay_buffer
  )
  return lambda: jax.block_until_ready(place(next(batches)).trajectory)


def _update(
  setup: setup_lib.Setup, rollout: trajectory.Rollout
) -> Callable[[], Any]:
  """Returns a function that runs the learner's update on one batch."""
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
