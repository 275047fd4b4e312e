"""The learner: one update function, and the loop that feeds it.

`make_update` gives a pure function that does not know how it is parallelised:
its only trace of the devices are sums over `axis_name`. `parallelize` puts it
under `jax.pmap`; tests put it under `jax.vmap`.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import functools
import time
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from agents import agent as agent_lib
from agents import batcher
from agents import gradient_accumulation
from agents import trajectory as trajectory_lib

Array = jax.Array
Metrics = dict[str, Any]

AXIS = 'learners'
# The metrics that are finite as long as an update is.
NORMS = ('loss', 'grad_norm', 'update_norm', 'param_norm')


class TrainState(NamedTuple):
  """What learning changes, the same on every device."""

  params: Any
  opt_state: optax.OptState


class Progress(NamedTuple):
  """One update, as the loop reports it."""

  train_state: TrainState
  num_updates: int  # This one included.
  num_frames: int  # Environment frames learnt from so far.
  learning_rate: float  # Of this update.
  policy_lags: np.ndarray  # [number of rollouts]: updates since they acted.
  wait_seconds: float  # Of the learner for this update's batch.
  metrics: Metrics  # Still on the device.
  batch: batcher.Batch


def make_update(
  agent: agent_lib.Agent,
  optimizer: optax.GradientTransformation,
  loss: Callable[..., tuple[Array, Metrics]],
  *,
  discount: float,
  clip_rewards: Callable[[Array], Array],
  unrolls_per_pass: int | None = None,
  axis_name: str = AXIS,
) -> Callable[..., tuple[TrainState, Metrics]]:
  """Makes `update(train_state, trajectory, learning_rate)`.

  The gradient is that of the loss summed over the whole global batch, so it
  does not depend on how many devices share it; its norm is clipped after the
  sum.

  Args:
    agent: whose `unroll` and `policy` are trained.
    optimizer: gives a direction; the step is `-learning_rate * direction`.
    loss: `vtrace.impala_loss` with its costs and thresholds filled in; gives
      the loss, summed over a device's batch, and its terms.
    discount: gamma.
    clip_rewards: applied to rewards `[T, B]`.
    unrolls_per_pass: accumulate the gradient over groups of this many unrolls,
      which is exact, since the loss is a sum. On CPU one unroll at a time stays
      in the cache. None: all at once.
    axis_name: of the mapped axis the devices' sums go over.

  Returns:
    The pure update: trajectories are one device's, rows `[T+1, B, ...]`.
    Metrics are scalars, summed over all devices; 'off_policy' holds those of
    `vtrace.off_policy_sums`; 'finite' is 1 if the loss, the gradient and the
    new parameters are. It raises a ValueError when traced with a B that
    `unrolls_per_pass` does not divide.
  """

  def loss_and_sums(params, trajectory):
    arguments = loss_arguments(
      agent, params, trajectory, discount=discount, clip_rewards=clip_rewards
    )
    total, terms = loss(**arguments)
    sums = terms | {'loss': total, 'steps': jnp.sum(arguments['mask'])}
    return total, jax.tree.map(jnp.float32, sums)

  def update(train_state, trajectory, learning_rate):
    params, opt_state = train_state
    gradient = jax.grad(loss_and_sums, has_aux=True)
    grads, sums = gradient_accumulation.accumulate(
      gradient, params, trajectory, unrolls_per_pass
    )
    grads, sums = jax.lax.psum((grads, sums), axis_name)
    direction, opt_state = optimizer.update(grads, opt_state, params)
    params = jax.tree.map(lambda p, d: p - learning_rate * d, params, direction)
    metrics = sums | {
      'entropy': -sums['entropy_loss'] / jnp.maximum(sums['steps'], 1.0),
      'grad_norm': optax.tree.norm(grads),
      'update_norm': learning_rate * optax.tree.norm(direction),
      'param_norm': optax.tree.norm(params),
    }
    return TrainState(params, opt_state), metrics | {'finite': _finite(metrics)}

  return update


def loss_arguments(
  agent: agent_lib.Agent,
  params: Any,
  trajectory: trajectory_lib.Trajectory,
  *,
  discount: float,
  clip_rewards: Callable[[Array], Array],
) -> dict[str, Array]:
  """What the loss is told of a trajectory, by its arguments' names.

  Args:
    agent: whose `unroll` and `policy` are trained.
    params: of the target policy.
    trajectory: rows `[T+1, B, ...]`.
    discount: gamma.
    clip_rewards: applied to rewards `[T, B]`.
  """
  output = agent.unroll(params, trajectory.rows, trajectory.core_state)
  steps = trajectory_lib.transitions(trajectory.rows)
  policy, _ = trajectory_lib.split_bootstrap(output.policy)
  values, bootstrap_value = trajectory_lib.split_bootstrap(output.value)
  return dict(
    behaviour_log_probs=steps.behaviour_log_probs,
    target_log_probs=agent.policy.log_prob(policy, steps.actions),
    entropy=agent.policy.entropy(policy),
    values=values,
    bootstrap_value=bootstrap_value,
    rewards=clip_rewards(steps.rewards),
    discounts=discount * steps.discounts,
    mask=steps.mask,
  )


def parallelize(update: Callable[..., Any], devices: Sequence[Any]):
  """`update` over `devices`: the state whole, trajectories `[D, ...]`."""
  return jax.pmap(
    update,
    axis_name=AXIS,
    in_axes=(None, 0, None),
    out_axes=None,
    devices=devices,
  )


def on_one_device(update: Callable[..., Any]):
  """Maps `update` as `parallelize` does, but on one device, for debugging.

  Only under `jax.jit` does jax_debug_nans check every call, and then repeat it
  operation by operation.
  """
  return jax.vmap(
    update, in_axes=(None, 0, None), out_axes=None, axis_name=AXIS
  )


def make_place(
  devices: Sequence[Any],
) -> Callable[[batcher.Batch], batcher.Batch]:
  """Moves a batch's trajectory `[D, ...]` to the devices, a part to each."""

  def place_batch(batch):
    return batch._replace(trajectory=place(batch.trajectory, devices))

  return place_batch


def place(
  trajectory: trajectory_lib.Trajectory, devices: Sequence[Any]
) -> trajectory_lib.Trajectory:
  """A trajectory `[D, ...]` on the devices, a part on each."""
  return jax.device_put(trajectory, _sharding(devices, AXIS))


def init(
  agent: agent_lib.Agent,
  optimizer: optax.GradientTransformation,
  key: Array,
  devices: Sequence[Any],
) -> TrainState:
  """A new state, on all devices."""
  new = jax.jit(functools.partial(new_state, agent, optimizer))(key)
  return replicate(new, devices)


def new_state(
  agent: agent_lib.Agent, optimizer: optax.GradientTransformation, key: Array
) -> TrainState:
  """Before the first update."""
  params = agent.init(key)
  return TrainState(params, optimizer.init(params))


def replicate(train_state: TrainState, devices: Sequence[Any]) -> TrainState:
  """The state whole on every device, as `parallelize` returns it.

  So one compilation of the update serves the first call and all that follow.
  """
  return jax.device_put(train_state, _sharding(devices))


def local_params(train_state: TrainState) -> Any:
  """The first device's own copy of the parameters, without copying it."""
  return jax.tree.map(lambda x: x.addressable_data(0), train_state.params)


def learn(
  train_state: TrainState,
  batches: Iterator[batcher.Batch],
  update: Callable[..., tuple[TrainState, Metrics]],
  publish: Callable[[int, Any], None],
  *,
  check: Callable[[], None] = lambda: None,
  learning_rate: Callable[[int], float],
  frames_per_step: int,
  total_frames: int,
  num_updates: int = 0,
  num_frames: int = 0,
) -> Iterator[Progress]:
  """Updates until `total_frames`, and reports each update.

  Args:
    train_state: where to begin.
    batches: already on the devices.
    update: from `parallelize`.
    publish: takes (num_updates, params) after every update, and waits for them:
      so at most one update is in flight.
    check: called before every update; raises if there is no use in going on,
      though batches may be left.
    learning_rate: environment frames so far -> learning rate.
    frames_per_step: action repeats.
    total_frames: where to end.
    num_updates: made before this call, with those of `train_state`.
    num_frames: learnt from before this call.
  """
  while num_frames < total_frames:
    start = time.monotonic()
    batch = next(batches, None)
    wait_seconds = time.monotonic() - start
    check()
    if batch is None:
      return
    rate = learning_rate(num_frames)
    train_state, metrics = update(train_state, batch.trajectory, rate)
    policy_lags = num_updates - batch.versions
    num_updates += 1
    num_frames += batch.num_transitions * frames_per_step
    publish(num_updates, local_params(train_state))
    yield Progress(
      train_state=train_state,
      num_updates=num_updates,
      num_frames=num_frames,
      learning_rate=rate,
      policy_lags=policy_lags,
      wait_seconds=wait_seconds,
      metrics=metrics,
      batch=batch,
    )


def _sharding(devices: Sequence[Any], *axes: str) -> jax.sharding.NamedSharding:
  mesh = jax.sharding.Mesh(np.array(devices), (AXIS,))
  return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))


def _finite(metrics: Metrics) -> Array:
  return jnp.isfinite(jnp.array([metrics[name] for name in NORMS])).all()
