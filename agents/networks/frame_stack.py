"""Frame stacking as part of the agent, on the device.

The environment returns single frames; the agent holds the previous frames in
its core state. With stacks of 4, observations take a quarter of the bytes
wherever they are transferred or stored. At the start of an episode the stack
repeats the first frame, as EnvPool's own stack does.
"""

from typing import Any
from typing import NamedTuple

import dm_env
import jax
import jax.numpy as jnp

from agents import trajectory
from agents.networks import network as network_lib
from agents.networks.cpu_gradients import packed_bytes

Array = jax.Array


class State(NamedTuple):
  """The previous frames and the core state of the wrapped network."""

  frames: Array  # [B, H, W, (n - 1) C]: the oldest first.
  core_state: Any  # [B, ...]


def wrap(
  network: network_lib.Network, frame_spec: dm_env.specs.Array, num_frames: int
) -> network_lib.Network:
  """Wraps a network on stacks of frames; the result takes single frames.

  Args:
    network: a network whose observations are stacks, `[H, W, n C]`.
    frame_spec: spec of a single frame, `[H, W, C]`.
    num_frames: n, the number of frames in a stack.

  Returns:
    A network with single frames as observations and a `State` as core state.
  """

  def stacked(rows, state):
    frames, after = stack(
      rows.timestep.observation,
      trajectory.is_first(rows.timestep),
      state.frames,
    )
    timestep = rows.timestep._replace(observation=frames)
    return rows._replace(timestep=timestep), after

  def init(key, rows, state):
    return network.init(key, stacked(rows, state)[0], state.core_state)

  def unroll(params, rows, state):
    rows, after = stacked(rows, state)
    output, core_state = network.unroll(params, rows, state.core_state)
    return output, State(after, core_state)

  def initial_state(batch_size):
    *size, channels = frame_spec.shape
    shape = (batch_size, *size, (num_frames - 1) * channels)
    frames = jnp.zeros(shape, frame_spec.dtype)
    return State(frames, network.initial_state(batch_size))

  return network_lib.Network(init, unroll, initial_state)


def stack(frames: Array, first: Array, past: Array) -> tuple[Array, Array]:
  """Stacks each frame with the n - 1 frames before it.

  The stack of step t is x_t^{n-1} .. x_t^0, where x_t^0 is the frame of step t
  and x_t^k, k > 0, is the frame k steps earlier:
    x_t^k = x_t^0 if an episode begins at t, else x_{t-1}^{k-1}.
  The first frame of an episode thus replaces all frames before it.

  Args:
    frames: x^0, `[T, B, H, W, C]`.
    first: whether an episode begins at this step, `[T, B]`.
    past: x_{-1}^{n-2} .. x_{-1}^0, `[B, H, W, (n - 1) C]`, the oldest first.

  Returns:
    The stacks, `[T, B, H, W, n C]`, the oldest frame first, and the argument
    `past` for the steps that follow.
  """
  channels = frames.shape[-1]
  newest_first = jnp.split(past, past.shape[-1] // channels, axis=-1)[::-1]
  first = first.reshape(first.shape + (1,) * (frames.ndim - first.ndim))
  views = [frames]
  for last in newest_first:
    one_step_before = jnp.concatenate([last[None], views[-1][:-1]])
    views.append(jnp.where(first, frames, one_step_before))
  after = [view[-1] for view in views[:-1]]
  return (
    packed_bytes.concatenate(views[::-1]),
    jnp.concatenate(after[::-1], axis=-1),
  )
