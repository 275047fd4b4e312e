"""Videos of whole episodes."""

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

# Of agent steps: Atari's 60 at an action repeat of 4; for others a good pace.
FRAMES_PER_SECOND = 15

_SETTINGS: dict[str, dict[str, Any]] = {
  # A GIF counts in hundredths of a second, and is shown again and again.
  '.gif': dict(duration=10 * round(100 / FRAMES_PER_SECOND), loop=0),
  # The codec needs even sides.
  '.mp4': dict(fps=FRAMES_PER_SECOND, macro_block_size=2),
}
# Or it would fork to run Python, which may hang beside JAX's threads.
os.environ.setdefault('IMAGEIO_FFMPEG_NO_PREVENT_SIGINT', '1')


@contextlib.contextmanager
def recording(
  path: pathlib.Path, render: Callable[[], np.ndarray], num_episodes: int
) -> Iterator[Callable[[dm_env.TimeStep], bool]]:
  """Records the first episodes of environment 0, from first to last timestep.

  Args:
    path: the file, by its ending a GIF or MPEG-4; it is there when all is well.
    render: gives environment 0 as it is now, `[H, W, 3]` bytes.
    num_episodes: how many.

  Yields:
    To be called with every timestep `[B]`; says whether there is more to come.

  Raises:
    ConfigError: at once, if there can be no such file.
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
