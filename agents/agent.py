"""The agent: pure functions made from a network and a distribution.

The actor calls `step`, the learner calls `unroll`; both are the same network,
so what the learner recomputes is what the actor did.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import dm_env
import jax
import jax.numpy as jnp

from agents import trajectory
from agents.networks import distributions
from agents.networks import frame_stack
from agents.networks import network as network_lib
from agents.networks import torsos

Array = jax.Array

MIN_PIXELS = 20  # Less, and nothing is left after the shallow torso's strides.


class ActorOutput(NamedTuple):
  """What the actor needs from one step."""

  action: Any  # [B]: drawn from mu(.|x).
  log_prob: Array  # [B]: log mu(action|x).


class Agent(NamedTuple):
  """Pure functions; `params` and core states are pytrees."""

  init: Callable[[Array], Any]  # key -> params
  initial_state: Callable[[int], Any]  # batch size -> core_state [B, ...]
  # (params, key, row [B], core_state) -> (ActorOutput, core_state)
  step: Callable[..., tuple[ActorOutput, Any]]
  # The same, but the action is the most likely one.
  greedy_step: Callable[..., tuple[ActorOutput, Any]]
  # (params, rows [T, B], core_state) -> NetworkOutput [T, B]
  unroll: Callable[..., network_lib.NetworkOutput]
  policy: distributions.Distribution  # Reads NetworkOutput.policy.


def make_agent(
  observation_spec: Any,
  action_spec: dm_env.specs.DiscreteArray,
  *,
  torso: str | torsos.Torso,
  use_lstm: bool,
  num_stacked: int = 1,
  compute_dtype: Any = jnp.float32,
) -> Agent:
  """An agent for an environment's specs.

  Args:
    observation_spec: a pytree of specs of one observation, without a batch
      axis.
    action_spec: of one action.
    torso: 'shallow', 'deep' or 'mlp', or a torso of your own.
    use_lstm: whether there is a recurrent core.
    num_stacked: how many of its last observations the torso sees at once, which
      must then be images; see `frame_stack`.
    compute_dtype: of the layers of torso and core; see `network`.

  Raises:
    ValueError: if there is no such torso, it does not fit the observation, or
      the action space is not discrete.
  """
  if not isinstance(action_spec, dm_env.specs.DiscreteArray):
    raise ValueError(
      f'Unsupported action space: {action_spec}. '
      'Only a single discrete action is supported.'
    )
  policy = distributions.categorical(action_spec.num_values)
  network = network_lib.make_network(
    make_torso(torso, observation_spec) if isinstance(torso, str) else torso,
    policy.num_outputs,
    action_spec.num_values,
    use_lstm=use_lstm,
    compute_dtype=compute_dtype,
  )
  if num_stacked > 1:
    if not isinstance(observation_spec, dm_env.specs.Array):
      raise ValueError(
        f'Only single images are stacked, no {observation_spec}.'
      )
    network = frame_stack.wrap(network, observation_spec, num_stacked)

  def init(key: Array) -> Any:
    rows = trajectory.zero_rows(observation_spec, 1, 1)
    return network.init(key, rows, network.initial_state(1))

  def step_by(choose: Callable[[Array, Array], Any]):
    def step(params: Any, key: Array, row: trajectory.Row, core_state: Any):
      rows = jax.tree.map(lambda x: jnp.asarray(x)[None], row)
      output, core_state = network.unroll(params, rows, core_state)
      outputs = output.policy[0]
      action = choose(key, outputs)
      return ActorOutput(action, policy.log_prob(outputs, action)), core_state

    return step

  def unroll(params: Any, rows: trajectory.Row, core_state: Any):
    return network.unroll(params, rows, core_state)[0]

  return Agent(
    init=init,
    initial_state=network.initial_state,
    step=step_by(policy.sample),
    greedy_step=step_by(lambda key, outputs: policy.mode(outputs)),
    unroll=unroll,
    policy=policy,
  )


def make_torso(name: str, observation_spec: Any) -> torsos.Torso:
  """The torso called `name`, or a ValueError that says why not."""
  if name == 'mlp':
    return torsos.mlp_torso(_without_instruction(observation_spec))
  images = {'shallow': torsos.shallow_torso, 'deep': torsos.deep_torso}
  if name not in images:
    raise ValueError(
      f'Unknown torso {name!r}: there are shallow, deep and mlp.'
    )
  specs = jax.tree.leaves(_without_instruction(observation_spec))
  if len(specs) != 1 or not is_image(specs[0]):
    raise ValueError(
      f'The {name} torso needs one image of at least '
      f'{MIN_PIXELS}x{MIN_PIXELS} pixels, [H, W, C]; '
      f'the environment gives {observation_spec}. The mlp torso takes any.'
    )
  return images[name]


def is_image(spec: dm_env.specs.Array) -> bool:
  """Whether the convolutional torsos can read it: `[H, W, C]`, large enough."""
  return len(spec.shape) == 3 and min(spec.shape[:2]) >= MIN_PIXELS


def _without_instruction(observation_spec: Any) -> Any:
  if not isinstance(observation_spec, dict):
    return observation_spec
  return {k: v for k, v in observation_spec.items() if k != 'instruction'}
