"""The agent: pure functions made from a network and a distribution.

The actor calls `step`, the learner calls `unroll`. Both use the same network:
with the same parameters, the learner recomputes the actor's outputs.
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
from agents.networks import text
from agents.networks import torsos

Array = jax.Array

# The smallest height and width for which the output of the shallow torso's
# convolutions is not empty.
MIN_PIXELS = 20


class ActorOutput(NamedTuple):
  """The outputs of one step of the agent for the actor."""

  action: Any  # [B]: sampled from mu(.|x), or its mode in `greedy_step`.
  log_prob: Array  # [B]: log mu(action|x).


class Agent(NamedTuple):
  """An agent as pure functions; `params` and core states are pytrees."""

  init: Callable[[Array], Any]  # key -> params
  initial_state: Callable[[int], Any]  # batch size -> core_state [B, ...]
  # (params, key, row [B], core_state) -> (ActorOutput, core_state)
  step: Callable[..., tuple[ActorOutput, Any]]
  # The same as `step`, with the most likely action.
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
  """Makes an agent for an environment's specs.

  Args:
    observation_spec: a pytree of specs of one observation, without a batch
      axis.
    action_spec: the spec of one action.
    torso: 'shallow', 'deep' or 'mlp', or a custom torso.
    use_lstm: whether the network has a recurrent core.
    num_stacked: number of latest observations that the torso sees at once. If
      above 1, each observation must be a single image; see `frame_stack`.
    compute_dtype: dtype of the layers of torso and core; see `network`.

  Raises:
    ValueError: if the torso is unknown or does not fit the observation, if the
      action space is not discrete, or if the observation cannot be stacked.
  """
  check_actions(action_spec)
  policy = distributions.categorical(action_spec.num_values)
  network = network_lib.make_network(
    make_torso(torso, observation_spec) if isinstance(torso, str) else torso,
    policy.num_outputs,
    action_spec.num_values,
    use_lstm=use_lstm,
    compute_dtype=compute_dtype,
    observation_spec=observation_spec,
  )
  if num_stacked > 1:
    if not isinstance(observation_spec, dm_env.specs.Array):
      raise ValueError(
        'Frame stacking needs a single image as observation, '
        f'got {observation_spec}.'
      )
    network = frame_stack.wrap(network, observation_spec, num_stacked)

  return from_network(network, policy, observation_spec)


def from_network(
  network: network_lib.Network,
  policy: distributions.Distribution,
  observation_spec: Any,
) -> Agent:
  """Makes an agent of any network and action distribution.

  Args:
    network: pure functions; `network.from_haiku` makes them of Haiku modules.
    policy: the distribution that `NetworkOutput.policy` parameterizes.
    observation_spec: a pytree of specs of one observation, without a batch
      axis.
  """

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


def check_actions(action_spec: dm_env.specs.Array) -> None:
  """Raises a ValueError unless an action is discrete: rows hold one integer."""
  if not isinstance(action_spec, dm_env.specs.DiscreteArray):
    raise ValueError(
      f'Unsupported action space: {action_spec}. '
      'Only a single discrete action is supported.'
    )


def make_torso(name: str, observation_spec: Any) -> torsos.Torso:
  """Returns the torso called `name`, for observations of the spec.

  Raises:
    ValueError: if the torso is unknown, or needs one image of at least
      `MIN_PIXELS` and the observation is not.
  """
  if name == 'mlp':
    return torsos.mlp_torso(text.without(observation_spec, observation_spec))
  images = {'shallow': torsos.shallow_torso, 'deep': torsos.deep_torso}
  if name not in images:
    raise ValueError(f'Unknown torso {name!r}: expected shallow, deep or mlp.')
  specs = jax.tree.leaves(text.without(observation_spec, observation_spec))
  if len(specs) != 1 or not is_image(specs[0]):
    raise ValueError(
      f'The {name} torso needs one image of at least '
      f'{MIN_PIXELS}x{MIN_PIXELS} pixels, [H, W, C]; '
      f'got {observation_spec}. The mlp torso accepts any observation.'
    )
  return images[name]


def is_image(spec: dm_env.specs.Array) -> bool:
  """Returns whether the spec is an image that the convolutional torsos accept.

  The shape must be `[H, W, C]` with H and W at least `MIN_PIXELS`.
  """
  return len(spec.shape) == 3 and min(spec.shape[:2]) >= MIN_PIXELS
