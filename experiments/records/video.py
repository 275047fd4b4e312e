"""Videos of complete episodes."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import os
import pathlib
from typing import Any

import dm_env
from imageio import v2 as imageio
import numpy as np

from experiments import config as config_lib
from experiments.records import atomic_file

# Agent steps per second: 60 Hz of Atari at an action repeat of 4. Other
# environments use it too.
FRAMES_PER_SECOND = 15

_SETTINGS: dict[str, dict[str, Any]] = {
  # GIF durations are multiples of 10 ms; loop=0 repeats forever.
  '.gif': dict(duration=10 * round(100 / FRAMES_PER_SECOND), loop=0),
  # The codec needs an even width and height.
  '.mp4': dict(fps=FRAMES_PER_SECOND, macro_block_size=2),
}
# Without this variable imageio-ffmpeg forks a Python process, which may hang
# beside JAX's threads.
os.environ.setdefault('IMAGEIO_FFMPEG_NO_PREVENT_SIGINT', '1')


@contextlib.contextmanager
def recording(
  path: pathlib.Path, render: Callable[[], np.ndarray], num_episodes: int
) -> Iterator[Callable[[dm_env.TimeStep], bool]]:
  """Records the first episodes of environment 0, from first to last timestep.

  Args:
    path: the video file, .gif or .mp4; written only if the body does not raise.
    render: returns the current image of environment 0, uint8 `[H, W, 3]`.
    num_episodes: the number of episodes to record.

  Yields:
    A function to call with every timestep `[B]`; it returns whether more
    episodes are to be recorded.

  Raises:
    ConfigError: before the body runs, if the file cannot be written.
  """
  if path.suffix not in _SETTINGS:
    raise config_lib.ConfigError(
      f'--video={path} should end in {" or ".join(_SETTINGS)}.'
    )
  left = num_episodes
  with (
    atomic_file.replacing(path) as partial,
    imageio.get_writer(partial, **_SETTINGS[path.suffix]) as writer,
  ):

    def watch(timestep: dm_env.TimeStep) -> bool:
      nonlocal left
      if left:
        writer.append_data(render())
        left -= int(timestep.step_type[0] == dm_env.StepType.LAST)
      return left > 0

    yield watch
