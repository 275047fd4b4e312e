"""The animation of a trained agent."""

import base64
import io
import re

from imageio import v2 as imageio
import numpy as np
import pytest

from experiments import config as config_lib
from experiments.plotting import animation
from experiments.training import parts as parts_lib
from experiments.training import policy as policy_lib
from tests import own_envs


def right(timestep, state):
  """Plays as a policy does: always the last action."""
  del timestep
  return np.array([2]), state


@pytest.fixture
def play(monkeypatch):
  """Plays on Catch by default, with a policy that was not trained."""

  def play(env='Catch', **settings):
    policy = type('Policy', (), {'__call__': staticmethod(right)})()
    policy.config = config_lib.from_preset('catch', env=env)
    monkeypatch.setattr(policy_lib, 'load', lambda *args: policy)
    return animation.play('runs/a', **settings)

  return play


def columns(image, value):
  """Returns which columns of the last row have a value in the cyan channel."""
  return np.flatnonzero(image[-1, :, 1] == value)


def test_it_shows_every_step_of_the_episodes(play):
  shown = play(num_episodes=3, frames_per_second=5)
  assert shown.frames.shape == (3 * 10, 320, 160, 3)
  for start in (0, 10, 20):  # The paddle starts in the middle, third of five.
    first, last = shown.frames[start], shown.frames[start + 9]
    assert columns(first, 255).tolist() == list(range(64, 96))
    assert columns(last, 255).tolist() == list(range(128, 160))


def test_a_notebook_shows_a_gif_that_moves(play, tmp_path):
  shown = play(frames_per_second=5)
  html = shown._repr_html_()
  (data,) = re.findall(r'<img [^>]*src="data:image/gif;base64,(.*)">', html)
  assert base64.b64decode(data) == shown.gif
  reader = imageio.get_reader(io.BytesIO(shown.gif), format='gif')
  np.testing.assert_array_equal(np.stack(list(reader))[..., :3], shown.frames)
  assert reader.get_meta_data()['duration'] == 200
  assert reader.get_meta_data()['loop'] == 0
  shown.save(tmp_path / 'a.gif')
  assert (tmp_path / 'a.gif').read_bytes() == shown.gif


def test_it_is_limited_in_length_and_width(play):
  shown = play(num_episodes=5, max_frames=12, max_width=50)
  assert shown.frames.shape == (12, 80, 40, 3)
  assert repr(shown) == 'Animation of 12 images, 40 x 80 pixels'


def test_an_environment_can_be_given(play):
  parts = parts_lib.Parts(make_env=own_envs.Dice)
  shown = play(env='__main__:Dice', parts=parts)  # No name finds it.
  assert shown.frames.shape[1:] == (8, 8, 3)
  assert (shown.frames[0] == 0).all() and (shown.frames[1:] > 0).all()


def test_an_environment_that_cannot_render_is_an_error(play):
  with pytest.raises(config_lib.ConfigError, match='render'):
    play(env='tests.own_envs:Walk')
