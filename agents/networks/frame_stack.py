"""Frame stacking as part of the agent, on the device.

An environment gives single frames and the agent remembers those before: a
quarter of the bytes, at a stack of 4, wherever observations are moved or kept.
An episode begins with its first frame repeated, as EnvPool's own stack does.
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
  """A core state, and the frames that the next observation goes on top of."""

  frames: Array  # [B, H, W, (n - 1) C]: the oldest first.
  core_state: Any  # [B, ...]: of the network that sees the stacks.


def wrap(
  network: network_lib.Network, frame_spec: dm_env.specs.Array, num_frames: int
) -> network_lib.Network:
  """The network on stacks of `num_frames`, as one on single frames.

  Args:
    network: its observations are stacks `[H, W, n C]`.
    frame_spec: of a single frame, `[H, W, C]`.
    num_frames: n.
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


def stack(frames: Array, first: Array, before: Array) -> tuple[Array, Array]:
  """Each frame with the n - 1 before it; an episode's first stands for those.

  With x_t^k the frame k steps before t, and x_t^0 the one at t:
    x_t^k = x_t^0 if an episode begins at t, else x_{t-1}^{k-1}.

  Args:
    frames: x^0, `[T, B, H, W, C]`.
    first: whether an episode begins, `[T, B]`.
    before: x_{-1}^{n-2} .. x_{-1}^0, `[B, H, W, (n - 1) C]`: the oldest first.

  Returns:
    Stacks `[T, B, H, W, n C]`, the oldest first, and `before` of what follows.
  """
  channels = frames.shape[-1]
  newest_first = jnp.split(before, before.shape[-1] // channels, axis=-1)[::-1]
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
