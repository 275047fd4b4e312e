"""Atari by EnvPool, with the paper's preprocessing (appendix G, table G.1)."""

from typing import Any

import dm_env
import numpy as np

from envs import environment
from envs import envpool_env

NOOP_MAX = 30  # Maximum number of random no-ops at the start of an episode.
_NUM_STACKED = 4  # Frames per stack.


class Atari(envpool_env.EnvPool):
  """A batch of one Atari game: `[84, 84, 1]` bytes, minimal action set.

  By default the agent stacks the frames (`num_stacked`), not the environment.
  """

  def __init__(
    self,
    task_id: str,
    num_envs: int,
    seed: int,
    life_loss_ends_episode: bool = True,
    max_episode_steps: int = 27_000,
    noop_max: int = NOOP_MAX,
    stack_num: int = 1,
    **settings: Any,
  ):
    """Initializes the games.

    Args:
      task_id: EnvPool's id, for instance 'Pong-v5'.
      num_envs: number of games, stepped together.
      seed: game i is seeded with `seed` + i.
      life_loss_ends_episode: gives a lost life discount 0, as in the paper's
        training. The game continues without a reset, so returns cover whole
        games.
      max_episode_steps: agent steps after which an episode is truncated.
      noop_max: maximum number of random no-ops at the start of an episode.
      stack_num: 1, or 4 for stacks by EnvPool: observations are then
        `[84, 84, 4]`, four times the bytes.
      **settings: further options of EnvPool.

    Raises:
      UnsupportedTaskError: if EnvPool cannot make the game.
    """
    if noop_max < 1:  # EnvPool would crash the whole process.
      raise envpool_env.UnsupportedTaskError(
        f'Atari games start with at least one no-op, not noop_max={noop_max}.'
      )
    if stack_num not in (1, _NUM_STACKED):
      raise envpool_env.UnsupportedTaskError(
        f'stack_num must be 1 or {_NUM_STACKED}, not {stack_num}.'
      )
    self.num_stacked = _NUM_STACKED // stack_num
    self._life_loss_ends_episode = life_loss_ends_episode
    self._lives = np.zeros([num_envs], np.int32)
    # The paper's preprocessing, which the caller may override.
    paper = dict(
      # Action repeats. An observation is the maximum of the last 2 frames,
      # which needs no option of EnvPool.
      frame_skip=4,
      img_height=84,
      img_width=84,
      gray_scale=True,
      # No sticky actions.
      repeat_action_probability=0.0,
      # The game's minimal action set.
      full_action_space=False,
      # EnvPool presses fire at a reset by default; the paper does not.
      use_fire_reset=False,
      # EnvPool would reset at a lost life: see `life_loss_ends_episode`.
      episodic_life=False,
      # The learner clips rewards; EnvPool would replace them by their signs.
      reward_clip=False,
    )
    super().__init__(
      task_id,
      num_envs,
      seed,
      # 1 unless the caller asks for EnvPool's stacks: see `num_stacked`.
      stack_num=stack_num,
      # Up to 30 in the paper.
      noop_max=noop_max,
      # 27,000 agent steps are 108,000 frames or 30 minutes.
      max_episode_steps=max_episode_steps,
      **(paper | settings),
    )

  def _time_step(
    self, outcome: environment.Outcome, observation: Any, info: dict[str, Any]
  ) -> dm_env.TimeStep:
    timestep = super()._time_step(outcome, observation, info)
    life_lost = (info['lives'] < self._lives) & ~outcome.first
    self._lives = info['lives']
    if not self._life_loss_ends_episode:
      return timestep
    discount = np.where(life_lost, 0, timestep.discount).astype(np.float32)
    return timestep._replace(discount=discount)


def is_atari(task_id: str) -> bool:
  """Returns whether `task_id` is one of EnvPool's Atari games."""
  specs = envpool_env.import_envpool().registration.registry.specs
  return task_id in specs and specs[task_id][0] == 'envpool.atari'
