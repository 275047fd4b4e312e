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
    render: returns the current image of environment 0, as `rgb` takes it.
    num_episodes: the number of episodes to record.

  Yields:
    A function to call with every timestep `[B]`; it returns whether more
    episodes are to be recorded.

  Raises:
    ConfigError: before the body runs, if the file cannot be written; or from
      the function, if an image cannot be written or changes its size.
  """
  if path.suffix not in _SETTINGS:
    raise config_lib.ConfigError(
      f'--video={path} should end in {" or ".join(_SETTINGS)}.'
    )
  left, shape = num_episodes, None
  with (
    atomic_file.replacing(path) as partial,
    # After an error imageio itself leaves ffmpeg running.
    contextlib.closing(
      imageio.get_writer(partial, **_SETTINGS[path.suffix])
    ) as writer,
  ):

    def watch(timestep: dm_env.TimeStep) -> bool:
      nonlocal left, shape
      if left:
        image = rgb(render())
        shape = shape or image.shape
        if image.shape != shape:
          raise config_lib.ConfigError(
            f'--video={path}: the images of render() change their shape from '
            f'{shape} to {image.shape}; a video has one size.'
          )
        writer.append_data(image)
        left -= int(timestep.step_type[0] == dm_env.StepType.LAST)
      return left > 0

    yield watch


def rgb(image: Any) -> np.ndarray:
  """Converts an image to uint8 `[H, W, 3]`.

  Args:
    image: `[H, W]` or `[H, W, 1]`, grey; `[H, W, 3]`; or `[H, W, 4]`, whose
      opacity is ignored. Values are in 0..255; booleans, and floats if none is
      above 1, are in 0..1.

  Raises:
    ConfigError: if it has another shape or other values.
  """
  image = np.asarray(image)
  shape, dtype = image.shape, image.dtype
  if image.ndim == 2:
    image = image[..., None]
  if image.ndim != 3 or image.shape[-1] not in (1, 3, 4) or not image.size:
    raise config_lib.ConfigError(
      f'render() returned an image of shape {shape}; a video needs [H, W], '
      '[H, W, 1], [H, W, 3] or [H, W, 4].'
    )
  if dtype != np.uint8:
    image = _to_bytes(image)
  return np.ascontiguousarray(np.broadcast_to(image[..., :3], (*shape[:2], 3)))


def _to_bytes(image: np.ndarray) -> np.ndarray:
  """Returns an image of another type than uint8 as uint8.

  Raises:
    ConfigError: if a value is not in 0..255.
  """
  is_number = np.issubdtype(image.dtype, np.number) or image.dtype == bool
  if not is_number or not np.all((image >= 0) & (image <= 255)):
    raise config_lib.ConfigError(
      f'render() returned an image of {image.dtype} with values outside '
      '0..255, which no video can show.'
    )
  is_share = image.dtype.kind in 'bf' and np.max(image) <= 1
  return np.rint(image * 255.0 if is_share else image).astype(np.uint8)
