"""The pipeline of a run: actor threads, a queue and the learner."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import functools
import threading
import time

from absl import logging

from agents import actor
from agents import learner
from agents import parameter_store
from agents import trajectory
from agents import trajectory_queue
from envs import closing
from envs import environment
from experiments.training import builders
from experiments.training import rollout_order
from experiments.training import setup as setup_lib

_JOIN_SECONDS = 10.0  # A thread that needs longer to stop is stuck.


@contextlib.contextmanager
def running(
  setup: setup_lib.Setup,
  update: setup_lib.Update | None = None,
  queue: trajectory_queue.TrajectoryQueue | None = None,
  store: parameter_store.ParameterStore | None = None,
) -> Iterator[Iterator[learner.Progress]]:
  """Yields an iterator over updates while the actors are running.

  Each `next` of the iterator makes one update. On leaving, stops the actors and
  closes the environments.

  Args:
    setup: the run.
    update: the compiled update, by default from `setup.compile_update`.
    queue: by default from `builders.make_queue`; closing it ends the run.
    store: by default from `builders.make_store`.
  """
  config, run = setup.config, setup.run
  update = update or setup_lib.compile_update(setup)
  queue = queue or builders.make_queue(config, run.num_updates)
  store = store or builders.make_store(config, run, setup.devices)
  batches = builders.make_batches(
    config, queue, setup.devices, setup.replay_buffer
  )
  with contextlib.closing(batches), acting(setup, queue, store):
    yield learner.learn(
      run.train_state,
      batches,
      update,
      store.publish,
      check=queue.raise_if_failed,
      learning_rate=builders.make_schedule(config),
      frames_per_step=setup.envs[0].frames_per_step,
      total_frames=config.num_frames,
      num_updates=run.num_updates,
      num_frames=run.num_frames,
    )


@contextlib.contextmanager
def acting(
  setup: setup_lib.Setup,
  queue: trajectory_queue.TrajectoryQueue,
  store: parameter_store.ParameterStore,
) -> Iterator[None]:
  """Runs the body with one thread per actor; on leaving, joins the threads."""
  act = actor.make_act(setup.agent)
  threads = [
    _actor_thread(setup, act, actor_id, queue, store)
    for actor_id in range(len(setup.envs))
  ]
  try:
    for thread in threads:
      thread.start()
    yield
  finally:
    queue.close()
    store.close()
    _join(threads, setup.envs)


def _actor_thread(
  setup: setup_lib.Setup,
  act: actor.Act,
  actor_id: int,
  queue: trajectory_queue.TrajectoryQueue,
  store: parameter_store.ParameterStore,
) -> threading.Thread:
  """Returns an unstarted thread that puts rollouts into the actor's ring."""
  config, run = setup.config, setup.run
  make_rollouts = functools.partial(
    actor.rollouts,
    setup.envs[actor_id],
    act,
    rollout_order.make_get_params(config, store, actor_id, run.num_updates),
    state=run.actors[actor_id],
    initial_core_state=setup.agent.initial_state(config.envs_per_actor),
    unroll_length=config.unroll_length,
    actor_id=actor_id,
  )
  put = functools.partial(queue.put, actor_id)
  fail = functools.partial(queue.fail, actor_id)
  return threading.Thread(
    target=_act,
    args=(setup.envs[actor_id], make_rollouts, put, fail),
    name=f'actor-{actor_id}',
    daemon=True,
  )


def _act(
  env: environment.Environment,
  make_rollouts: Callable[[], Iterator[trajectory.Rollout]],
  put: Callable[[trajectory.Rollout], bool],
  fail: Callable[[BaseException], None],
) -> None:
  """Runs an actor in the thread of its environments."""
  body = functools.partial(actor.run, make_rollouts, put, fail)
  try:
    environment.run(env, body)
  except BaseException as error:  # The environments are late.
    fail(error)


def _join(
  threads: Sequence[threading.Thread],
  envs: Sequence[environment.Environment],
) -> None:
  """Waits for the actors to stop and closes their environments.

  Logs an error for a stuck thread and leaves its environment open.
  """
  deadline = time.monotonic() + _JOIN_SECONDS
  idle = []
  for thread, env in zip(threads, envs, strict=True):
    if thread.ident is not None:  # It was started.
      thread.join(max(0.0, deadline - time.monotonic()))
    if thread.is_alive():
      logging.error(
        '%s is stuck in its environment, which stays open.', thread.name
      )
    else:
      idle.append(env)
  closing.close_all(idle)
