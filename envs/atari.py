"""Atari by EnvPool, preprocessed as in the paper (appendix G, table G.1)."""

from typing import Any

import dm_env
import numpy as np

from envs import environment
from envs import envpool_env

NOOP_MAX = 30  # Random no-ops, at most, that begin an episode.
_NUM_STACKED = 4  # Frames that the agent sees at once.


class Atari(envpool_env.EnvPool):
  """A batch of one Atari game: `[84, 84, 1]` bytes, the minimal action set.

  Four frames are to be seen at once; who sees them stacks them.
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
    """Makes the games; `task_id` for instance 'Pong-v5'.

    With `life_loss_ends_episode` a lost life has a discount of 0, as in the
    paper's training, yet the game goes on: returns are those of whole games.
    With `stack_num` 4 EnvPool stacks the frames, four times the bytes:
    observations are `[84, 84, 4]`. `settings` are more of EnvPool's own.

    Raises:
      UnsupportedTaskError: if EnvPool cannot make the game.
    """
    if noop_max < 1:  # EnvPool crashes the whole process.
      raise envpool_env.UnsupportedTaskError(
        f'A game begins with at least one no-op, not noop_max={noop_max}.'
      )
    if stack_num not in (1, _NUM_STACKED):
      raise envpool_env.UnsupportedTaskError(
        f'EnvPool stacks all {_NUM_STACKED} frames or none, not {stack_num}.'
      )
    self.num_stacked = _NUM_STACKED // stack_num
    self._life_loss_ends_episode = life_loss_ends_episode
    self._lives = np.zeros([num_envs], np.int32)
    super().__init__(
      task_id,
      num_envs,
      seed,
      # Each action is repeated 4 times; the observation is the maximum of the
      # last 2 frames, which EnvPool does unasked,
      frame_skip=4,
      # in 84x84 grayscale,
      img_height=84,
      img_width=84,
      gray_scale=True,
      # and the last 4 of them are seen: see `num_stacked`.
      stack_num=stack_num,
      # Random no-ops, in the paper up to 30, begin an episode,
      noop_max=noop_max,
      # which 27,000 agent steps, 108,000 frames or 30 minutes, cut off.
      max_episode_steps=max_episode_steps,
      # No sticky actions in the paper.
      repeat_action_probability=0.0,
      # The game's minimal action set.
      full_action_space=False,
      # EnvPool's default, to press fire at a reset, is not the paper's.
      use_fire_reset=False,
      # This would reset; see `life_loss_ends_episode`.
      episodic_life=False,
      # The learner clips rewards; EnvPool would take a mere sign.
      reward_clip=False,
      **settings,
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
  """Whether EnvPool knows `task_id` as an Atari game."""
  specs = envpool_env.import_envpool().registration.registry.specs
  return task_id in specs and specs[task_id][0] == 'envpool.atari'
