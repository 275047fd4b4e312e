"""Writes metrics rows as TensorBoard events.

Events are written and flushed in the calling thread. The SummaryWriter of
tensorboardX writes in a thread that dies on a full disk, and then waits for
that thread forever.
"""

import pathlib
from typing import Any

import numpy as np
from tensorboardX import event_file_writer
from tensorboardX import summary
from tensorboardX.proto import event_pb2

from experiments.records import metrics_csv
import vtrace


class Events:
  """A new events file in a log directory; replaces the existing ones."""

  def __init__(self, logdir: pathlib.Path):
    for old in logdir.glob('events.out.tfevents.*'):
      old.unlink()
    self._writer = event_file_writer.EventsWriter(str(logdir / 'events'))

  def add(self, row: dict[str, str]) -> None:
    """Adds a row of metrics.csv; skips empty cells.

    The events are made from the text of the file, so that rewritten events are
    identical.
    """
    event = event_pb2.Event(
      step=int(row['num_frames']),
      wall_time=metrics_csv.number(row.get('wall_time', '')),
    )
    for name, text in row.items():
      if name in metrics_csv.HISTOGRAMS:
        counts = metrics_csv.counts(text)
        event.summary.MergeFrom(_histogram(name, counts))
      elif name not in ('num_frames', 'wall_time'):
        value = metrics_csv.number(text)
        if np.isfinite(value):
          event.summary.MergeFrom(summary.scalar(name, value))
    self._writer.write_event(event)

  def write(self, row: dict[str, str]) -> None:
    """Adds a row and writes it to the file."""
    self.add(row)
    self.flush()

  def flush(self) -> None:
    """Writes all added rows to the file."""
    self._writer.flush()

  def close(self) -> None:
    """Closes the file."""
    self._writer.close()


def _histogram(name: str, counts: np.ndarray) -> Any:
  """Makes a histogram summary of counts `[bins]`.

  The bins are the lags 0, 1, 2, ..., or those between `vtrace.LOG_RHO_EDGES`.
  """
  limits = np.arange(len(counts)) + 0.5
  if name == 'log_rho_histogram':
    edges = vtrace.LOG_RHO_EDGES
    limits = np.array([*edges, 2 * edges[-1] - edges[-2]])
  centres = limits - (limits[-1] - limits[-2] if len(limits) > 1 else 1.0) / 2
  return summary.histogram_raw(
    name,
    min=float(centres[0]),
    max=float(centres[-1]),
    num=int(np.sum(counts)),
    sum=float(np.sum(centres * counts)),
    sum_squares=float(np.sum(np.square(centres) * counts)),
    bucket_limits=limits.tolist(),
    bucket_counts=counts.tolist(),
  )
