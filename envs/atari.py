"""Atari by EnvPool, preprocessed as in the paper (appendix G, table G.1)."""

from typing import Any

import dm_env
import numpy as np

from envs import environment
from envs import envpool_env

ACTION_REPEAT = 4


class Atari(envpool_env.EnvPool):
  """A batch of one Atari game: `[84, 84, 4]` bytes, the minimal action set."""

  def __init__(
    self,
    task_id: str,
    num_envs: int,
    seed: int,
    life_loss_ends_episode: bool = True,
  ):
    """Makes the games; `task_id` for instance 'Pong-v5'.

    With `life_loss_ends_episode` a lost life has a discount of 0, as in the
    paper's training, yet the game goes on: returns are those of whole games.
    """
    self._life_loss_ends_episode = life_loss_ends_episode
    self._lives = np.zeros([num_envs], np.int32)
    super().__init__(
      task_id,
      num_envs,
      seed,
      frames_per_step=ACTION_REPEAT,
      frame_skip=ACTION_REPEAT,  # Each action is repeated 4 times, and the
      # observation is the maximum of the last 2 frames: EnvPool does so.
      img_height=84,
      img_width=84,
      gray_scale=True,  # 84x84 grayscale...
      stack_num=4,  # ...and the last 4 of them.
      noop_max=30,  # Up to 30 random no-ops begin an episode.
      max_episode_steps=27_000,  # Agent steps: 108,000 frames, 30 minutes.
      repeat_action_probability=0.0,  # No sticky actions in the paper.
      full_action_space=False,  # The game's minimal set.
      use_fire_reset=False,  # EnvPool's default True is not the paper's.
      episodic_life=False,  # It would reset; see `life_loss_ends_episode`.
      reward_clip=False,
    )  # The learner clips; EnvPool's is a mere sign.

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
  registry = envpool_env.import_envpool().registration.registry
  return registry.specs[task_id][0] == 'envpool.atari'
