"""The learning curve that grows in a notebook."""

import importlib
import sys

import numpy as np
import pytest

from experiments import config as config_lib
from experiments.plotting import live


@pytest.fixture
def shown(monkeypatch):
  """Records the figures of every display: [figures of the first, ...]."""
  displays = []

  class Handle(list):
    """A display that can be updated."""

    update = list.append

  def show(fig, display_id):
    displays.append(Handle([fig]))
    return displays[-1]

  monkeypatch.setattr(
    importlib.import_module('IPython.display'), 'display', show
  )
  return displays


def row(num_frames, mean_return):
  return {
    'num_frames': str(num_frames),
    'episode_return': '',
    'mean_return': str(mean_return),
  }


def points(fig):
  return fig.axes[0].lines[-1].get_xydata().tolist()


def test_the_curve_of_one_display_grows(shown):
  curve = live.LiveCurve(seconds=0)
  curve.write(row(10, -0.5))
  curve.write(row(20, 0.25))
  curve.close()
  ((first, second),) = shown
  assert points(first) == [[10, -0.5]]
  assert points(second) == [[10, -0.5], [20, 0.25]]


def test_the_last_rows_are_drawn_at_the_end(shown):
  curve = live.LiveCurve(seconds=np.inf)
  for num_frames in (10, 20, 30):
    curve.write(row(num_frames, 1.0))
  ((_,),) = shown
  curve.close()
  ((_, last),) = shown
  assert len(points(last)) == 3


def test_a_resumed_run_continues_in_a_new_display_and_a_new_run_starts(shown):
  curve = live.LiveCurve(seconds=0)
  for num_frames in (10, 20, 30):
    curve.write(row(num_frames, 1.0))
  curve.close()
  curve.write(row(30, 2.0))
  curve.close()
  curve.write(row(5, 3.0))
  _, (resumed,), (new,) = shown
  assert points(resumed) == [[10, 1], [20, 1], [30, 2]]
  assert points(new) == [[5, 3]]


def test_no_rows_show_nothing(shown):
  live.LiveCurve().close()
  assert not shown


def test_it_needs_ipython(monkeypatch):
  monkeypatch.setitem(sys.modules, 'IPython.display', None)
  with pytest.raises(config_lib.ConfigError, match='IPython'):
    live.LiveCurve()
