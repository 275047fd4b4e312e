"""What a trained agent does, as a moving image for a notebook or a web page."""

import base64
from collections.abc import Iterator
import contextlib
import dataclasses
import io
import itertools
import os
import pathlib

import dm_env
from imageio import v2 as imageio
import numpy as np

from envs import registry
from experiments import config as config_lib
from experiments.records import video
from experiments.training import evaluation
from experiments.training import parts as parts_lib
from experiments.training import policy as policy_lib


@dataclasses.dataclass(frozen=True, eq=False)
class Animation:
  """A GIF, which a notebook shows moving, also after it was saved."""

  frames: np.ndarray  # [N, H, W, 3] bytes
  gif: bytes  # The contents of a .gif file.

  def save(self, path: str | os.PathLike[str]) -> None:
    """Writes the GIF to a file."""
    pathlib.Path(path).write_bytes(self.gif)

  def _repr_html_(self) -> str:
    """Returns an image element that contains the GIF, for IPython."""
    data = base64.b64encode(self.gif).decode()
    return f'<img alt="{self!r}" src="data:image/gif;base64,{data}">'

  def __repr__(self) -> str:
    num_frames, height, width, _ = self.frames.shape
    return f'Animation of {num_frames} images, {width} x {height} pixels'


def play(
  logdir: str | os.PathLike[str],
  *,
  step: int | None = None,
  num_episodes: int = 1,
  max_frames: int = 300,
  max_width: int = 200,
  frames_per_second: float = video.FRAMES_PER_SECOND,
  greedy: bool = False,
  seed: int = 0,
  parts: parts_lib.Parts = parts_lib.AS_CONFIGURED,
) -> Animation:
  """Plays with the policy of a checkpoint and returns what could be seen.

  Args:
    logdir: the log directory of the run.
    step: the number of updates of the checkpoint; by default the newest.
    num_episodes: how many episodes to play, one after the other.
    max_frames: ends the animation after so many agent steps. A GIF of 300 large
      images may have a megabyte.
    max_width: in pixels; larger images are made smaller.
    frames_per_second: agent steps per second.
    greedy: whether to take the most likely action instead of sampling one.
    seed: of actions and environment.
    parts: factories of the run that its config.json cannot name.

  Raises:
    ConfigError: if there is no such run or checkpoint, or the environment
      cannot render.
  """
  policy = policy_lib.load(logdir, step, greedy, seed, parts)
  try:
    with contextlib.closing(
      _images(policy, num_episodes, seed, parts)
    ) as images:
      few = itertools.islice(images, max_frames)
      frames = np.stack([_shrunk(image, max_width) for image in few])
  except registry.ERRORS as error:
    raise config_lib.ConfigError(str(error)) from error
  buffer = io.BytesIO()
  # In units of 10 ms: a GIF has no others.
  duration = 10 * round(100 / frames_per_second)
  imageio.mimwrite(buffer, frames, format='gif', duration=duration, loop=0)
  return Animation(frames, buffer.getvalue())


def _images(
  policy: policy_lib.Policy,
  num_episodes: int,
  seed: int,
  parts: parts_lib.Parts,
) -> Iterator[np.ndarray]:
  """Yields an image of every timestep, `[H, W, 3]` bytes."""
  options = evaluation.Options(num_envs=1, seed=seed, video='.gif')
  settings = evaluation.env_settings(policy.config, options)
  settings['factory'] = parts.make_env
  with contextlib.closing(
    evaluation.make_env(policy.config.env, options, settings)
  ) as env:
    timestep, state = env.reset(), None
    for _ in range(num_episodes):
      yield video.rgb(env.render(0))
      while timestep.step_type[0] != dm_env.StepType.LAST:
        action, state = policy(timestep, state)
        timestep = env.step(action)
        yield video.rgb(env.render(0))
      action, state = policy(timestep, state)
      timestep = env.step(action)  # Resets the environment.


def _shrunk(image: np.ndarray, max_width: int) -> np.ndarray:
  """Returns the image, `[H, W, 3]` bytes, with at most `max_width` columns.

  Each pixel becomes the mean of a square.
  """
  height, width, _ = image.shape
  side = min(-(-width // max_width), height)
  rows, columns = height // side, width // side
  squares = image[: rows * side, : columns * side]
  squares = squares.reshape(rows, side, columns, side, 3)
  return np.rint(squares.mean((1, 3))).astype(np.uint8)
