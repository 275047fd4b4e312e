"""The learner: one update function, and the loop that calls it.

`make_update` returns a pure function that does not depend on how it is
parallelized, except for a `jax.lax.psum` over `axis_name`. `parallelize` maps
it with `jax.pmap`, `on_one_device` with `jax.vmap`.
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
from agents import loss_interface
from agents import trajectory as trajectory_lib

Array = jax.Array
Metrics = dict[str, Any]

AXIS = 'learners'


class TrainState(NamedTuple):
  """The state that an update changes, the same on every device."""

  params: Any
  opt_state: optax.OptState


class Progress(NamedTuple):
  """The result of one update in `learn`."""

  train_state: TrainState
  num_updates: int  # Updates so far, including this one.
  num_frames: int  # Environment frames in all batches so far.
  learning_rate: float  # Learning rate of this update.
  # [number of new rollouts]: updates between acting and learning.
  policy_lags: np.ndarray
  wait_seconds: float  # Time that the learner waited for the batch.
  metrics: Metrics  # On the device; reading them waits for the update.
  batch: batcher.Batch


def make_update(
  agent: agent_lib.Agent,
  optimizer: optax.GradientTransformation,
  loss: loss_interface.Loss,
  *,
  discount: float,
  clip_rewards: Callable[[Array], Array],
  unrolls_per_pass: int | None = None,
  axis_name: str = AXIS,
) -> Callable[..., tuple[TrainState, Metrics]]:
  """Makes the pure function `update(train_state, trajectory, learning_rate)`.

  The gradient is that of the loss summed over the global batch. It does not
  depend on the number of devices. `optimizer` gets the sum over devices, so its
  gradient clip applies to the global norm.

  Args:
    agent: the agent to train; the update uses its `unroll` and `policy`.
    optimizer: any optax optimizer; its updates are added to the parameters. It
      may take the schedule's `learning_rate`: see `optimizer.scheduled`.
    loss: `vtrace.impala_loss` with costs and thresholds bound, or a custom one:
      see `loss_interface.Loss`.
    discount: gamma.
    clip_rewards: applied to rewards `[T, B]`.
    unrolls_per_pass: accumulate the gradient over groups of this many unrolls.
      This is exact, because the loss is a sum. On CPU, one unroll at a time
      stays in the cache. None: no gradient accumulation.
    axis_name: name of the mapped device axis.

  Returns:
    The update, which returns (train_state, metrics). Its `trajectory` is that
    of one device, rows `[T+1, B, ...]`. The metrics are scalars for the global
    batch, except 'off_policy', the sums of `vtrace.off_policy_sums`. 'finite'
    is True if the loss and the norms of gradient, step and new parameters are
    finite. When it is traced, the update raises a LossError if the loss breaks
    its contract, and a ValueError if B is above `unrolls_per_pass` and not a
    multiple of it.
  """
  optimizer = optax.with_extra_args_support(optimizer)

  def loss_and_sums(params, trajectory):
    arguments = loss_interface.arguments(
      agent, params, trajectory, discount=discount, clip_rewards=clip_rewards
    )
    total, terms = loss_interface.call(loss, arguments)
    mask = arguments['mask']
    sums = terms | {
      'loss': total,
      'steps': jnp.sum(mask),
      'entropy': jnp.sum(jnp.where(mask, arguments['entropy'], 0.0)),
    }
    return total, jax.tree.map(jnp.float32, sums)

  def update(train_state, trajectory, learning_rate):
    params, opt_state = train_state
    gradient = jax.grad(loss_and_sums, has_aux=True)
    grads, sums = gradient_accumulation.accumulate(
      gradient, params, trajectory, unrolls_per_pass
    )
    grads, sums = jax.lax.psum((grads, sums), axis_name)
    updates, opt_state = optimizer.update(
      grads, opt_state, params, learning_rate=learning_rate
    )
    params = optax.apply_updates(params, updates)
    metrics = sums | {
      'entropy': sums['entropy'] / jnp.maximum(sums['steps'], 1.0),
      'grad_norm': optax.tree.norm(grads),
      'update_norm': optax.tree.norm(updates),
      'param_norm': optax.tree.norm(params),
    }
    return TrainState(params, opt_state), metrics | {'finite': _finite(metrics)}

  return update


def parallelize(update: Callable[..., Any], devices: Sequence[Any]):
  """Maps `update` over `devices` with `jax.pmap`, data parallel.

  The train state is replicated; trajectories are `[D, ...]`.
  """
  return jax.pmap(
    update,
    axis_name=AXIS,
    in_axes=(None, 0, None),
    out_axes=None,
    devices=devices,
  )


def on_one_device(update: Callable[..., Any]):
  """Maps `update` as `parallelize` does, but on one device, for debugging.

  The caller may compile the result with `jax.jit`. Only under `jax.jit` does
  jax_debug_nans check every call and re-run it operation by operation.
  """
  return jax.vmap(
    update, in_axes=(None, 0, None), out_axes=None, axis_name=AXIS
  )


def make_place(
  devices: Sequence[Any],
) -> Callable[[batcher.Batch], batcher.Batch]:
  """Makes a function that splits a batch's trajectory over the devices."""

  def place_batch(batch):
    return batch._replace(trajectory=place(batch.trajectory, devices))

  return place_batch


def place(
  trajectory: trajectory_lib.Trajectory, devices: Sequence[Any]
) -> trajectory_lib.Trajectory:
  """Puts a trajectory `[D, ...]` on the D devices, one part on each."""
  return jax.device_put(trajectory, _sharding(devices, AXIS))


def init(
  agent: agent_lib.Agent,
  optimizer: optax.GradientTransformation,
  key: Array,
  devices: Sequence[Any],
) -> TrainState:
  """Initializes a train state and replicates it on all devices."""
  new = jax.jit(functools.partial(new_state, agent, optimizer))(key)
  return replicate(new, devices)


def new_state(
  agent: agent_lib.Agent, optimizer: optax.GradientTransformation, key: Array
) -> TrainState:
  """Returns the train state before the first update."""
  params = agent.init(key)
  return TrainState(params, optimizer.init(params))


def replicate(train_state: TrainState, devices: Sequence[Any]) -> TrainState:
  """Replicates the state on every device.

  The sharding is the same as that of the states that `parallelize`'s function
  returns, so the update compiles only once.
  """
  return jax.device_put(train_state, _sharding(devices))


def local_params(train_state: TrainState) -> Any:
  """Returns this host's first replica of the parameters, without a copy."""
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
  """Runs updates until `total_frames` and yields the progress of each.

  Stops earlier if `batches` ends.

  Args:
    train_state: the initial state.
    batches: batches already on the devices.
    update: from `parallelize`.
    publish: called with (num_updates, params) after every update. It waits
      until the parameters are computed, so at most one update is in flight.
    check: called before every update. It raises an exception if training must
      stop even though batches are left.
    learning_rate: environment frames so far -> learning rate.
    frames_per_step: environment frames per agent step (action repeats).
    total_frames: number of environment frames to stop at.
    num_updates: number of updates that made `train_state`.
    num_frames: environment frames before this call.
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
  norms = jnp.array([metrics[name] for name in loss_interface.NORMS])
  return jnp.isfinite(norms).all()
