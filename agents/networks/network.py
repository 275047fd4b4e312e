"""Networks over arrival rows `[T, B]`: a torso, a core and two heads.

As in the paper, the input is the observation. A recurrent core also receives
the last reward and the last action, which are zero at the first step of an
episode (in the authors' code they are those of the episode before).
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import functools
from typing import Any
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from agents import trajectory
from agents.networks import text
from agents.networks import torsos
from agents.networks.cpu_gradients import conv

Array = jax.Array

# Mixed precision casts the inputs of these layers.
_LAYERS = (conv.Conv2D, hk.ConvND, hk.Linear)


class NetworkOutput(NamedTuple):
  """The outputs of the heads."""

  policy: Array  # [T, B, num_outputs]: parameters of the distribution.
  value: Array  # [T, B]: V(x).
  # A pytree of [T, B, ...]: further outputs, for a custom loss.
  extra: Any = ()


class Network(NamedTuple):
  """Pure functions of a network."""

  # (key, rows, core_state) -> params
  init: Callable[..., Any]
  # (params, rows, core_state) -> (NetworkOutput, core_state)
  unroll: Callable[..., Any]
  # batch size -> core_state [B, ...]
  initial_state: Callable[[int], Any]


def make_network(
  torso: torsos.Torso,
  num_outputs: int,
  num_actions: int,
  *,
  use_lstm: bool,
  compute_dtype: Any = jnp.float32,
  observation_spec: Any = None,
) -> Network:
  """Makes a network of a torso, a core and two linear heads.

  `torsos.instruction_torso` encodes the leaves of an observation that are text,
  and the torso gets the other entries. The features are concatenated.

  Args:
    torso: maps observations `[N, ...]` to features `[N, F]`.
    num_outputs: size of the policy head.
    num_actions: number of values of the last action, which becomes one-hot.
    use_lstm: whether there is a core, an LSTM with 256 units.
    compute_dtype: dtype in which the layers of torso and core compute. The
      parameters, the heads and the core state stay float32.
    observation_spec: says which leaves are text; None: there is none.
  """

  def features_of(rows: trajectory.Row, core_state: Any):
    features = hk.BatchApply(
      functools.partial(_encode, torso, observation_spec)
    )(rows.timestep.observation)
    if not use_lstm:
      return features, core_state
    core_input = _core_input(features, rows, num_actions)
    should_reset = trajectory.is_first(rows.timestep)
    return hk.dynamic_unroll(
      hk.ResetCore(hk.LSTM(256)), (core_input, should_reset), core_state
    )

  def unroll(rows: trajectory.Row, core_state: Any):
    with _mixed_precision(compute_dtype):
      features, core_state = features_of(rows, core_state)
    features = features.astype(jnp.float32)
    output = NetworkOutput(
      policy=hk.Linear(num_outputs, name='policy_head')(features),
      value=hk.Linear(1, name='baseline_head')(features)[..., 0],
    )
    return output, core_state

  def initial_state(batch_size: int):
    return hk.LSTM(256).initial_state(batch_size) if use_lstm else ()

  return from_haiku(unroll, initial_state)


def from_haiku(
  unroll: Callable[[trajectory.Row, Any], tuple[NetworkOutput, Any]],
  initial_state: Callable[[int], Any] = lambda batch_size: (),
) -> Network:
  """Makes a network of two functions that use Haiku modules.

  Args:
    unroll: (rows `[T, B]`, core_state `[B, ...]`) -> (NetworkOutput `[T, B]`,
      core_state). It resets the core state at the first row of an episode
      (`trajectory.is_first`), before that row is consumed. It may use neither
      Haiku's state nor random numbers: actor and learner must agree.
    initial_state: batch size -> core_state `[B, ...]`, any pytree; by default
      there is none.
  """
  unroll = hk.without_apply_rng(hk.transform(unroll))
  initial_state = hk.without_apply_rng(hk.transform(initial_state))
  return Network(
    init=unroll.init,
    unroll=unroll.apply,
    initial_state=lambda batch_size: initial_state.apply({}, batch_size),
  )


@contextlib.contextmanager
def _mixed_precision(dtype: Any) -> Iterator[None]:
  """Runs the body with float32 parameters and layers that compute in `dtype`.

  Parameters are cast when they are read, inputs when a layer is called.
  """

  def create(next_creator, shape, dtype_, init, context):
    del dtype_, context
    return next_creator(shape, jnp.float32, init)

  def get(next_getter, value, context):
    del context
    return next_getter(value).astype(dtype)

  def call(method, args, kwargs, context):
    if (
      isinstance(context.module, _LAYERS) and context.method_name == '__call__'
    ):
      # Bytes are not cast: `conv.Conv2D` scales them.
      args = tuple(x if x.dtype == jnp.uint8 else x.astype(dtype) for x in args)
    return method(*args, **kwargs)

  with (
    hk.custom_creator(create),
    hk.custom_getter(get),
    hk.intercept_methods(call),
  ):
    yield


def _encode(torso: torsos.Torso, spec: Any, observation: Any) -> Array:
  """Returns features `[N, F]` of observations; those of text last."""
  if not isinstance(observation, dict):
    return torso(observation)
  rest = text.without(observation, spec)
  leaves = jax.tree.leaves(rest)
  features = [torso(leaves[0] if len(leaves) == 1 else rest)]
  for tokens, num_words in text.leaves(observation, spec):
    features.append(torsos.instruction_torso(tokens, num_words))
  return jnp.concatenate(features, axis=-1)


def _core_input(
  features: Array, rows: trajectory.Row, num_actions: int
) -> Array:
  """Concatenates features, last reward (clipped to [-1, 1]) and last action.

  The action is one-hot. The first row of an episode has no last action: its
  one-hot vector is zero.
  """
  last_reward = jnp.clip(rows.timestep.reward, -1.0, 1.0)[..., None]
  last_action = jax.nn.one_hot(rows.action, num_actions)
  first = trajectory.is_first(rows.timestep)[..., None]
  return jnp.concatenate(
    [features, last_reward, jnp.where(first, 0.0, last_action)], axis=-1
  )
