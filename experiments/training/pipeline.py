"""A run's pipeline: actors that act, and a learner that learns from them."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import functools
import threading
import time
from typing import Any

from absl import logging
import jax

from agents import actor
from agents import agent as agent_lib
from agents import learner
from agents import parameter_store
from agents import trajectory
from agents import trajectory_queue
from envs import environment
from experiments import config as config_lib
from experiments.training import builders
from experiments.training import run_state

_JOIN_SECONDS = 10.0  # A thread that steps longer is stuck.


@contextlib.contextmanager
def running(
  config: config_lib.Config,
  agent: agent_lib.Agent,
  worlds: Sequence[environment.Environment],
  update: Callable[..., Any],
  run: run_state.RunState,
  queue: trajectory_queue.TrajectoryQueue,
  store: parameter_store.ParameterStore,
  devices: Sequence[jax.Device],
) -> Iterator[Iterator[learner.Progress]]:
  """Acts and learns, as long as one asks for progress; ends on leaving.

  Args:
    config: of the run.
    agent: acts.
    worlds: one for each actor, closed on leaving.
    update: over `devices`, from `learner.parallelize`.
    run: where to go on.
    queue: from `builders.make_queue`.
    store: from `builders.make_store`.
    devices: learn; the first of them acts.
  """
  batches = builders.make_batches(
    config, queue, devices, run.num_updates, run.memory
  )
  run = run._replace(memory=())  # Theirs alone, to be forgotten in its time.
  with (
    contextlib.closing(batches),
    acting(config, agent, worlds, run, queue, store),
  ):
    yield learner.learn(
      run.train_state,
      batches,
      update,
      store.publish,
      check=queue.raise_if_failed,
      learning_rate=builders.make_schedule(config),
      frames_per_step=worlds[0].frames_per_step,
      total_frames=config.num_frames,
      num_updates=run.num_updates,
      num_frames=run.num_frames,
    )


@contextlib.contextmanager
def acting(
  config: config_lib.Config,
  agent: agent_lib.Agent,
  worlds: Sequence[environment.Environment],
  run: run_state.RunState,
  queue: trajectory_queue.TrajectoryQueue,
  store: parameter_store.ParameterStore,
) -> Iterator[None]:
  """Runs an actor thread for each world; on leaving, closes and joins them."""
  act = actor.make_act(agent)
  threads = [
    _actor_thread(
      functools.partial(
        actor.rollouts,
        world,
        act,
        builders.make_get_params(config, store, actor_id, run.num_updates),
        state=run.actors[actor_id],
        initial_core_state=agent.initial_state(config.envs_per_actor),
        unroll_length=config.unroll_length,
        actor_id=actor_id,
      ),
      actor_id,
      queue,
    )
    for actor_id, world in enumerate(worlds)
  ]
  try:
    for thread in threads:
      thread.start()
    yield
  finally:
    queue.close()
    store.close()
    _join(threads, worlds)


def _actor_thread(
  make_rollouts: Callable[[], Iterator[trajectory.Rollout]],
  actor_id: int,
  queue: trajectory_queue.TrajectoryQueue,
) -> threading.Thread:
  """A thread, not started, that puts an actor's rollouts into its ring."""
  return threading.Thread(
    target=actor.run,
    args=(
      make_rollouts,
      functools.partial(queue.put, actor_id),
      functools.partial(queue.fail, actor_id),
    ),
    name=f'actor-{actor_id}',
    daemon=True,
  )


def _join(
  threads: Sequence[threading.Thread],
  worlds: Sequence[environment.Environment],
) -> None:
  """Waits for the actors to leave, and closes the worlds they have left."""
  deadline = time.monotonic() + _JOIN_SECONDS
  for thread, world in zip(threads, worlds, strict=True):
    if thread.ident is not None:  # It was started.
      thread.join(max(0.0, deadline - time.monotonic()))
    if thread.is_alive():
      logging.error('%s is stuck in its environment; left behind.', thread.name)
    else:
      world.close()
