"""The assignment of rollouts to batches, and of parameters to rollouts.

The learner reads the rings of the queue round-robin, so the configuration of a
run determines both.
"""

import itertools
import math

from agents import actor
from agents import parameter_store
from experiments import config as config_lib


def new_unrolls(config: config_lib.Config) -> int:
  """Returns the number of new unrolls in a batch; the others are replayed."""
  return round(config.batch_size * (1 - config.replay_fraction))


def rollouts_per_batch(config: config_lib.Config) -> int:
  """Returns the number of new rollouts in a batch."""
  return new_unrolls(config) // config.envs_per_actor


def max_policy_lag(config: config_lib.Config) -> int:
  """Returns the highest policy lag of free-running actors, in updates.

  When an actor starts a rollout, its ring holds at most `queue_capacity`
  rollouts. The rings are read round-robin, so the learner still has to take at
  most (capacity + 1) rollouts of every actor, including this one. Prefetching
  adds 1: while a batch is assembled, the update before it may be unpublished.
  """
  num_waiting = (config.queue_capacity + 1) * config.num_actors
  return math.ceil(num_waiting / rollouts_per_batch(config)) + 1


def rollouts_taken(
  config: config_lib.Config, actor_id: int, num_updates: int
) -> int:
  """Returns the number of an actor's rollouts in the first batches.

  Counts the batches of the first `num_updates` updates.
  """
  taken = num_updates * rollouts_per_batch(config)
  return len(range(actor_id, taken, config.num_actors))


def make_get_params(
  config: config_lib.Config,
  store: parameter_store.ParameterStore,
  actor_id: int,
  num_updates: int,
) -> actor.GetParams:
  """Makes the function that gets the parameters for an actor's next rollout.

  With --lag=-1 it returns the newest parameters. With a fixed lag it computes
  which batch the rollout will be part of, and waits for the parameters that are
  `lag` updates older. The first `lag` batches use the initial parameters.
  """
  if config.lag < 0:
    return store.get
  rollouts = itertools.count(rollouts_taken(config, actor_id, num_updates))

  def get_params():
    number = next(rollouts) * config.num_actors + actor_id
    batch = number // rollouts_per_batch(config)
    return store.wait_for(
      max(0, batch - config.lag),
      # The learner times out first: its message names the actor that is late.
      timeout_seconds=2 * config.timeout_seconds,
    )

  return get_params
