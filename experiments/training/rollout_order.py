"""The assignment of rollouts to batches, and of parameters to rollouts.

The queue has one ring of rollouts per actor. The learner reads the rings
round-robin, from the first batch of the run to the last: rollout j of the run
is from actor j mod num_actors and belongs to batch j // rollouts_per_batch.
With a fixed lag, an actor can therefore compute which parameters to act with.
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
  """Returns an upper bound on the policy lag without a fixed lag, in updates.

  When an actor starts a rollout, its ring holds at most `queue_capacity`
  earlier rollouts. Because the rings are read round-robin, the learner takes at
  most `queue_capacity` + 1 rollouts of every actor until it has taken the new
  one. They fill at most ceil((queue_capacity + 1) num_actors / R) batches of R
  rollouts. Prefetching adds 1 update: while a batch is assembled, the
  parameters of the update before it may not be published yet.
  """
  num_waiting = (config.queue_capacity + 1) * config.num_actors
  return math.ceil(num_waiting / rollouts_per_batch(config)) + 1


def rollouts_taken(
  config: config_lib.Config, actor_id: int, num_updates: int
) -> int:
  """Returns the number of an actor's rollouts in the first updates' batches."""
  taken = num_updates * rollouts_per_batch(config)
  return len(range(actor_id, taken, config.num_actors))


def make_get_params(
  config: config_lib.Config,
  store: parameter_store.ParameterStore,
  actor_id: int,
  num_updates: int,
) -> actor.GetParams:
  """Makes the function that gets the parameters for an actor's next rollout.

  The actor calls it once per rollout. If `config.lag` is -1, it returns the
  newest parameters. With a fixed lag it computes the index b of the batch that
  the rollout will be part of, and waits for the parameters of update
  max(0, b - lag).

  Args:
    config: the configuration of the run.
    store: the store of the parameters.
    actor_id: the actor.
    num_updates: updates before the actor's first call, not 0 after a resume.
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
