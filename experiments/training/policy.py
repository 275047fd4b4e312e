"""The policy that a run has trained, for use outside this repository.

policy, state = experiments.load('runs/a'), None
action, state = policy(timestep, state)
"""

from collections.abc import Callable
import contextlib
import dataclasses
import os
from typing import Any
from typing import NamedTuple

import dm_env
import jax
import numpy as np

from agents import actor
from agents import trajectory
from envs import registry
from envs.custom import leaves
from envs.custom import spaces
from experiments import config as config_lib
from experiments.training import evaluation
from experiments.training import parts as parts_lib
from experiments.training.checkpoints import checkpoint
from experiments.training.checkpoints import checkpointing


class State(NamedTuple):
  """What a policy remembers between two timesteps of B environments."""

  key: jax.Array  # Of the next action.
  action: Any  # [B]: the last actions.
  core_state: Any  # [B, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Policy:
  """A policy: `action, state = policy(timestep, state)`.

  The same policy can act in several environments: each keeps its own state.
  """

  config: config_lib.Config  # Of the run.
  num_updates: int  # That made the parameters.
  observation_spec: Any  # Of one environment, without a batch axis.
  action_spec: dm_env.specs.Array  # The same; discrete actions start at 0.
  act: actor.Act
  initial_state: Callable[[int], Any]  # batch size -> core_state [B, ...]
  params: Any
  key: jax.Array  # Of the first action.

  def __call__(
    self, timestep: dm_env.TimeStep, state: State | None = None
  ) -> tuple[Any, State]:
    """Returns the action for a timestep, and the state for the next one.

    Args:
      timestep: of one environment, or `[B, ...]` of a batch. The reward and the
        discount of a FIRST timestep may be None. A FIRST timestep resets the
        core state by itself.
      state: the second result of the previous call; None: the first call.

    Returns:
      The action as an int, or the actions `[B]`, as `action_spec` describes
      them: discrete actions start at 0, also where those of a user's own
      environment do not. The state is new; the given one is not changed.

    Raises:
      ValueError: if an observation is not as declared in `observation_spec`,
        or `state` is of another number of environments.
    """
    is_single = np.ndim(timestep.step_type) == 0
    batch = _batch(timestep, self.observation_spec)
    num_envs = len(batch.step_type)
    if state is None:
      action = np.zeros([num_envs], np.int32)
      state = State(self.key, action, self.initial_state(num_envs))
    if len(state.action) != num_envs:
      raise ValueError(
        f'The state is of {len(state.action)} environments, the timestep of '
        f'{num_envs}.'
      )
    log_prob = np.zeros([num_envs], np.float32)  # No network reads it.
    row = trajectory.Row(batch, state.action, log_prob)
    output, core_state, key = self.act(
      self.params,
      state.key,
      actor.put_like(self.params, row),
      state.core_state,
    )
    action = np.asarray(output.action)
    new_state = State(key, output.action, core_state)
    return (_single(action[0]) if is_single else action), new_state


def load(
  logdir: str | os.PathLike[str],
  step: int | None = None,
  greedy: bool = False,
  seed: int = 0,
  parts: parts_lib.Parts = parts_lib.AS_CONFIGURED,
) -> Policy:
  """Returns the policy of a checkpoint.

  With the same environments and seed it acts as `evaluation.evaluate` does.

  Args:
    logdir: the log directory of the run; a leading ~ is expanded.
    step: the number of updates of the checkpoint; by default the newest.
    greedy: whether to take the most likely action instead of sampling one.
    seed: of the actions.
    parts: factories of the run that its config.json cannot name.

  Raises:
    ConfigError: if there is no such run or checkpoint, or the environment of
      the run, which gives the specs, cannot be made.
  """
  path = config_lib.path(os.fspath(logdir))
  options = evaluation.Options(str(path), num_envs=1, seed=seed)
  try:
    config = evaluation.read_config(path)
    num_updates, flat = checkpointing.read(path / 'checkpoints', step)
    settings = evaluation.env_settings(config, options)
    settings['factory'] = parts.make_env
    with contextlib.closing(
      evaluation.make_env(config.env, options, settings)
    ) as env:
      agent, params = evaluation.trained_agent(config, env, flat, parts)
      specs = env.observation_spec(), env.action_spec()
  except (*registry.ERRORS, checkpoint.CheckpointError) as error:
    raise config_lib.ConfigError(str(error)) from error
  if greedy:
    agent = agent._replace(step=agent.greedy_step)
  return Policy(
    config,
    num_updates,
    *specs,
    act=actor.make_act(agent),
    initial_state=agent.initial_state,
    params=params,
    key=evaluation.actions_key(seed),
  )


def _batch(timestep: dm_env.TimeStep, observation_spec: Any) -> dm_env.TimeStep:
  """Returns the timestep with a batch axis `[B, ...]`, as the agent reads it.

  The reward and the discount of a FIRST timestep become 0 and 1.
  """
  step_type = np.atleast_1d(np.asarray(timestep.step_type, np.int32))
  first = step_type == dm_env.StepType.FIRST
  reward = 0.0 if timestep.reward is None else timestep.reward
  discount = 1.0 if timestep.discount is None else timestep.discount
  lead = np.shape(timestep.step_type)
  declared = spaces.observation_tree(observation_spec)
  observation = leaves.converter(declared, lead)(timestep.observation)
  if not lead:
    observation = jax.tree.map(lambda x: x[None], observation)
  return dm_env.TimeStep(
    step_type=step_type,
    reward=np.where(first, 0.0, reward).astype(np.float32),
    discount=np.where(first, 1.0, discount).astype(np.float32),
    observation=observation,
  )


def _single(action: np.ndarray) -> Any:
  """Returns an action of one environment; a scalar becomes a Python number."""
  return action if action.ndim else action.item()
