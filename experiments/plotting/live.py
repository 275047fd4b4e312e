"""A learning curve in a notebook that grows while a run trains."""

import importlib
import pathlib
import time
from typing import Any

from experiments import config as config_lib
from experiments.plotting import pages
from experiments.plotting import runs as runs_lib


class LiveCurve:
  """A `run_logger.Writer` that draws the rows of a run, below the cell.

  train.train(config, writers=[live.LiveCurve()])

  The rows of a resumed run follow those that are drawn. A new run gets a new
  `LiveCurve`.
  """

  def __init__(self, seconds: float = 2.0):
    """Initializes the curve; the first row shows it.

    Args:
      seconds: the shortest time between two drawings, each of which takes some
        tenths of a second from the training.

    Raises:
      ConfigError: if IPython is missing, which shows figures in notebooks.
    """
    try:
      self._display = importlib.import_module('IPython.display').display
    except ImportError as error:
      raise config_lib.ConfigError(
        'A LiveCurve needs a notebook: IPython is not installed.'
      ) from error
    self._seconds = seconds
    self._rows: list[dict[str, str]] = []
    self._handle: Any = None  # Of the figure in the output of the cell.
    self._next_drawing = 0.0
    self._is_drawn = True

  def write(self, row: dict[str, str]) -> None:
    """Adds a row of metrics.csv to the curve."""
    frame = int(row['num_frames'])
    before = [x for x in self._rows if int(x['num_frames']) < frame]
    self._rows = [*before, row]
    self._is_drawn = False
    if time.monotonic() >= self._next_drawing:
      self._draw()

  def close(self) -> None:
    """Draws all rows; rows that follow are shown in a new figure."""
    if not self._is_drawn:
      self._draw()
    self._handle = None

  def _draw(self) -> None:
    fig = pages.learning_curve(runs_lib.Run(pathlib.Path(), {}, self._rows))
    if self._handle is None:
      self._handle = self._display(fig, display_id=True)
    else:
      self._handle.update(fig)
    self._is_drawn = True
    self._next_drawing = time.monotonic() + self._seconds
