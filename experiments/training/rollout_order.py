"""Which rollout becomes part of which batch, and which parameters act for it.

The rings of the queue are read in turn, so that both follow from the numbers of
a run's configuration.
"""

import itertools
import math

from agents import actor
from agents import parameter_store
from experiments import config as config_lib


def new_unrolls(config: config_lib.Config) -> int:
  """Returns how many unrolls of a batch are new; the others are replayed."""
  return round(config.batch_size * (1 - config.replay_fraction))


def rollouts_per_batch(config: config_lib.Config) -> int:
  """Returns how many new rollouts a batch takes."""
  return new_unrolls(config) // config.envs_per_actor


def max_policy_lag(config: config_lib.Config) -> int:
  """Returns the highest policy lag of free-running actors, in updates.

  An actor that begins a rollout has at most `queue_capacity` in its ring, and
  the rings are read in turn, so at most (capacity + 1) rollouts of every actor,
  this one included, are still to be taken. The batch that is being taken is at
  most one ahead of the last that was learnt from and published.
  """
  to_be_taken = (config.queue_capacity + 1) * config.num_actors
  return math.ceil(to_be_taken / rollouts_per_batch(config)) + 1


def rollouts_taken(
  config: config_lib.Config, actor_id: int, num_updates: int
) -> int:
  """Returns how many of its rollouts the first `num_updates` batches take."""
  taken = num_updates * rollouts_per_batch(config)
  return len(range(actor_id, taken, config.num_actors))


def make_get_params(
  config: config_lib.Config,
  store: parameter_store.ParameterStore,
  actor_id: int,
  num_updates: int,
) -> actor.GetParams:
  """Makes an actor's getter of parameters: the newest, or exactly `lag` old.

  Since the rings are read in turn, an actor knows which batch a rollout will be
  part of, and waits for the parameters that are to act for it. The first `lag`
  batches have none so old, and take the first.
  """
  if config.lag < 0:
    return store.get
  rollouts = itertools.count(rollouts_taken(config, actor_id, num_updates))

  def get_params():
    number = next(rollouts) * config.num_actors + actor_id
    batch = number // rollouts_per_batch(config)
    return store.wait_for(
      max(0, batch - config.lag),
      # The learner gives up first: it knows for whom it waits.
      timeout_seconds=2 * config.timeout_seconds,
    )

  return get_params
