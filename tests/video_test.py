"""Frames of a video: converted to one format, or rejected in a sentence."""

import dm_env
from imageio import v2 as imageio
import numpy as np
import pytest

from experiments import config as config_lib
from experiments.records import video

GREY = np.array([[0, 51], [102, 204], [255, 0]], np.uint8)  # [H, W]
RGB = np.stack([GREY, GREY[::-1], GREY // 2], -1)
STEP = dm_env.TimeStep(np.array([1]), None, None, None)


def record(path, *frames):
  left = list(frames)
  with video.recording(path, lambda: left.pop(0), 1) as watch:
    for _ in frames:
      watch(STEP)


@pytest.mark.parametrize(
  'image, expected',
  (
    (GREY, np.stack([GREY] * 3, -1)),
    (GREY[..., None], np.stack([GREY] * 3, -1)),
    (RGB, RGB),
    (np.concatenate([RGB, RGB[..., :1]], -1), RGB),
    (RGB / 255.0, RGB),
    ((RGB / 255.0).astype(np.float32), RGB),
    (RGB.astype(np.float64), RGB),
    (RGB.astype(np.int64), RGB),
    (RGB > 99, 255 * (RGB > 99)),
    ((RGB[:, ::-1] / 255.0)[:, ::-1], RGB),
  ),
)
def test_images_become_bytes_of_three_colours(image, expected):
  converted = video.rgb(image)
  assert converted.dtype == np.uint8 and converted.flags.c_contiguous
  np.testing.assert_array_equal(converted, expected)


@pytest.mark.parametrize(
  'image, message',
  (
    (np.zeros([4]), r'shape \(4,\)'),
    (np.zeros([4, 6, 2]), r'shape \(4, 6, 2\)'),
    (np.zeros([3, 48, 48, 3]), r'shape \(3, 48'),
    (np.zeros([0, 6, 3]), r'shape \(0, 6, 3\)'),
    (RGB - 40.0, 'outside 0..255'),
    (np.where(RGB > 99, np.nan, RGB), 'outside 0..255'),
    (np.full([4, 4, 3], 256), 'outside 0..255'),
    (np.full([4, 4, 3], 'x'), 'outside 0..255'),
    (None, r'shape \(\)'),
  ),
)
def test_other_images_are_rejected(image, message):
  with pytest.raises(config_lib.ConfigError, match=message):
    video.rgb(image)


def big(image):
  return np.kron(image, np.ones([16, 16] + [1] * (image.ndim - 2), image.dtype))


@pytest.mark.parametrize('suffix', ('.gif', '.mp4'))
def test_odd_frames_are_recorded(suffix, tmp_path):
  path = tmp_path / f'a{suffix}'
  record(path, big(GREY[..., None]), big(RGB / 255.0), big(GREY))
  assert imageio.mimread(path)[0].shape[:2] == (48, 32)


@pytest.mark.parametrize('suffix', ('.gif', '.mp4'))
def test_frames_that_change_their_size_leave_no_video(suffix, tmp_path):
  path = tmp_path / f'a{suffix}'
  with pytest.raises(config_lib.ConfigError, match='change .* one size'):
    record(path, big(RGB), big(RGB), big(RGB[1:]))
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('suffix', ('.gif', '.mp4'))
def test_an_error_before_the_first_frame_is_not_hidden(suffix, tmp_path):
  with pytest.raises(config_lib.ConfigError, match='outside'):
    record(tmp_path / f'a{suffix}', big(RGB) - 40.0)
  assert not list(tmp_path.iterdir())
