"""Learning curves as PNG."""

import csv
import pathlib

from matplotlib import figure


def learning_curve(metrics_csv: pathlib.Path, png: pathlib.Path) -> None:
  """Draws return against environment frames from a run's metrics.csv."""
  with open(metrics_csv, newline='') as file:
    rows = [row for row in csv.DictReader(file) if row['mean_return']]
  frames = [int(row['num_frames']) for row in rows]
  recent = [float(row['mean_return']) for row in rows]
  fig = figure.Figure(figsize=(7, 4), layout='constrained')
  axes = fig.add_subplot()
  ended = [
    (int(row['num_frames']), float(row['episode_return']))
    for row in rows
    if row['episode_return']
  ]
  if ended:
    axes.plot(
      *zip(*ended), color='C0', alpha=0.3, label='episodes since last row'
    )
  axes.plot(frames, recent, color='C0', label='mean of the last episodes')
  axes.set_xlabel('environment frames')
  axes.set_ylabel('episode return')
  axes.grid(alpha=0.3)
  axes.legend(frameon=False)
  fig.savefig(png, dpi=120)
