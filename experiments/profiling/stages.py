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
from agents import agent as agent_lib
from agents import learner
from agents import trajectory
from agents import trajectory_queue
from envs import environment
from experiments import config as config_lib
from experiments.training import builders
from experiments.training import pipeline
from experiments.training import run_state

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


class Setup(NamedTuple):
  """What is timed."""

  config: config_lib.Config
  agent: agent_lib.Agent
  worlds: list[environment.Environment]  # One for each actor.
  update: Any  # Over `devices`.
  run: run_state.RunState
  devices: list[jax.Device]


def set_up(
  config: config_lib.Config,
  worlds: list[environment.Environment] | None = None,
  **agent_settings: Any,
) -> Setup:
  """The parts of a run of `config`.

  Args:
    config: of the run.
    worlds: instead of the run's own.
    **agent_settings: of `agent.make_agent`, instead of the run's own.
  """
  worlds = worlds or builders.make_worlds(config)
  devices = jax.local_devices()
  try:
    agent = builders.make_agent(config, worlds[0], **agent_settings)
  except config_lib.ConfigError:
    for world in worlds:
      world.close()
    raise
  optimizer = builders.make_optimizer(config)
  update = learner.parallelize(
    builders.make_update(config, agent, optimizer), devices
  )
  init_key, actors_key = jax.random.split(jax.random.key(config.seed))
  train_state = learner.init(agent, optimizer, init_key, devices)
  run = run_state.initial(config, train_state, actors_key)
  return Setup(config, agent, worlds, update, run, devices)


def running(
  setup: Setup,
) -> contextlib.AbstractContextManager[Iterator[learner.Progress]]:
  """`pipeline.running`, from the beginning, and nothing recorded."""
  return pipeline.running(
    setup.config,
    setup.agent,
    setup.worlds,
    setup.update,
    setup.run,
    builders.make_queue(setup.config),
    builders.make_store(setup.config, setup.run, setup.devices),
    setup.devices,
  )


def repeat(calls: Sequence[Callable[[], Any]], steps: int) -> Measure:
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


def alone(setup: Setup) -> dict[str, Measure]:
  """Every stage by itself, in the order of `NAMES`.

  All worlds step at once, as they do in training; all else is of one actor.
  """
  config, world = setup.config, setup.worlds[0]
  act, params = actor.make_act(setup.agent), _params(setup)
  rollouts = actor.rollouts(
    world,
    act,
    lambda: (0, params),
    state=setup.run.actors[0],
    initial_core_state=setup.agent.initial_state(config.envs_per_actor),
    unroll_length=config.unroll_length,
    actor_id=0,
  )
  rollout = list(itertools.islice(rollouts, 2))[-1]
  batch_steps = builders.new_unrolls(config) * config.unroll_length
  worlds = [_environment(setup, each) for each in setup.worlds]
  calls = (
    (worlds, config.envs_per_actor),
    ([_transfer(setup)], config.envs_per_actor),
    ([_inference(setup, act, rollout)], config.envs_per_actor),
    ([_queue(setup, rollout)], batch_steps),
    ([_update(setup, rollout)], batch_steps),
  )
  return {name: repeat(*call) for name, call in zip(NAMES, calls, strict=True)}


@contextlib.contextmanager
def separately(config: config_lib.Config) -> Iterator[dict[str, Measure]]:
  """`alone` of a run of `config`, whose worlds are closed on leaving."""
  setup = set_up(config)
  with contextlib.ExitStack() as stack:
    for world in setup.worlds:
      stack.callback(world.close)
    yield alone(setup)


@contextlib.contextmanager
def together(setup: Setup) -> Iterator[Measure]:
  """The whole training; between measurements it stands still."""
  # It waits for as long as others are measured.
  config = dataclasses.replace(setup.config, timeout_seconds=math.inf)
  with running(setup._replace(config=config)) as progress:

    def measure(seconds):
      # What had been acted ahead does not count.
      for _ in range(builders.max_policy_lag(config) + 1):
        next(progress)
      steps, start, cpu = 0, time.perf_counter(), time.process_time()
      while not steps or time.perf_counter() - start < seconds:
        next(progress)
        steps += builders.new_unrolls(config) * config.unroll_length
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


def _params(setup: Setup) -> Any:
  return learner.local_params(setup.run.train_state)


def _environment(
  setup: Setup, world: environment.Environment
) -> Callable[[], Any]:
  """Steps with random actions."""
  config = setup.config
  world.reset()
  rng = np.random.default_rng(0)
  shape = (100, config.envs_per_actor)
  actions = rng.integers(world.action_spec().num_values, size=shape)
  coming = itertools.cycle(actions.astype(np.int32))
  return lambda: world.step(next(coming))


def _transfer(setup: Setup) -> Callable[[], Any]:
  """A timestep of all environments, from the host to the device."""
  timestep, params = setup.worlds[0].reset(), _params(setup)
  return lambda: jax.block_until_ready(actor.put_like(params, timestep))


def _inference(
  setup: Setup, act: Callable[..., Any], rollout: trajectory.Rollout
) -> Callable[[], Any]:
  """From an arrival on the device to actions on the host."""
  params = _params(setup)
  row = jax.tree.map(lambda x: x[0], rollout.trajectory.rows)
  key = actor.put_like(params, rollout.state.key)
  core_state = rollout.trajectory.core_state
  return lambda: np.asarray(act(params, key, row, core_state)[0].action)


def _queue(setup: Setup, rollout: trajectory.Rollout) -> Callable[[], Any]:
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

  batches = builders.batches(config, pass_on, len(setup.devices))
  return lambda: jax.block_until_ready(place(next(batches)).trajectory)


def _update(setup: Setup, rollout: trajectory.Rollout) -> Callable[[], Any]:
  """The learner's update of one batch."""
  config, devices = setup.config, setup.devices
  batch = next(builders.batches(config, lambda: rollout, len(devices)))
  trajectories = learner.place(batch.trajectory, devices)
  state = setup.run.train_state
  return lambda: jax.block_until_ready(
    setup.update(state, trajectories, config.learning_rate)
  )
