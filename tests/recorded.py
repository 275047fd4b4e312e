"""Recorded runs for tests, in the files that training writes."""

import csv
import dataclasses
import json

from experiments import config as config_lib
from experiments.plotting import groups as groups_lib
from experiments.plotting import runs as runs_lib


def record(logdir, rows, **settings):
  """Writes a run of Catch to `logdir`; `rows` are lists of cells by column."""
  logdir.mkdir(parents=True)
  config = config_lib.from_preset('catch', logdir=str(logdir))
  config = dataclasses.asdict(config) | settings
  (logdir / 'config.json').write_text(json.dumps(config))
  with open(logdir / 'metrics.csv', 'w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(rows)
    writer.writerows(zip(*rows.values()))
  return logdir


def returns(frames, values):
  """Returns the columns of a run that recorded only its returns."""
  return {'num_frames': frames, 'mean_return': values}


def read_groups(folder):
  """Returns the groups of all runs in `folder`."""
  return groups_lib.group(runs_lib.read_all([folder]))
