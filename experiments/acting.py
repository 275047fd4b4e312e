"""The actor threads of a run: started, and whatever happens, ended."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import functools
import threading
import time

from absl import logging

from agents import actor
from agents import agent as agent_lib
from agents import parameter_store
from agents import trajectory
from agents import trajectory_queue
from envs import environment
from experiments import config as config_lib
from experiments import parts
from experiments import run_state

_JOIN_SECONDS = 10.0  # A thread that steps longer is stuck.


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
        parts.make_get_params(config, store, actor_id, run.num_updates),
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
