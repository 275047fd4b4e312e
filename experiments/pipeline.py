"""A run's pipeline: actors that act, and a learner that learns from them."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
from typing import Any

import jax

from agents import agent as agent_lib
from agents import learner
from agents import parameter_store
from agents import trajectory_queue
from envs import environment
from experiments import acting
from experiments import config as config_lib
from experiments import parts
from experiments import run_state


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
    queue: from `parts.make_queue`.
    store: from `parts.make_store`.
    devices: learn; the first of them acts.
  """
  batches = parts.make_batches(
    config, queue, devices, run.num_updates, run.memory
  )
  run = run._replace(memory=())  # Theirs alone, to be forgotten in its time.
  with (
    contextlib.closing(batches),
    acting.acting(config, agent, worlds, run, queue, store),
  ):
    yield learner.learn(
      run.train_state,
      batches,
      update,
      store.publish,
      check=queue.raise_if_failed,
      learning_rate=parts.make_schedule(config),
      frames_per_step=worlds[0].frames_per_step,
      total_frames=config.num_frames,
      num_updates=run.num_updates,
      num_frames=run.num_frames,
    )
