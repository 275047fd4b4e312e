"""The committed results say what the READMEs say of them."""

import csv
import json
import pathlib

from experiments import config as config_lib

RESULTS = pathlib.Path(__file__).parent.parent / 'experiments' / 'results'


def read_run(name):
  """The run's configuration, and its rows of metrics."""
  config = json.loads((RESULTS / name / 'config.json').read_text())
  with open(RESULTS / name / 'metrics.csv', newline='') as file:
    return config_lib.Config(**config), list(csv.DictReader(file))


def test_the_pong_run_is_the_presets_and_went_to_its_end():
  config, rows = read_run('pong')
  assert config == config_lib.from_preset('pong', logdir=config.logdir)
  assert int(rows[-1]['num_frames']) >= config.num_frames


def test_pong_is_learnt_within_the_hour_and_stays_learnt():
  config, rows = read_run('pong')
  assert config.return_window == 50
  learnt = [r for r in rows[1:] if float(r['mean_return']) >= 18.0]
  assert 2_190 < float(learnt[0]['seconds']) < 2_200  # 36.6 minutes.
  assert learnt == rows[-len(learnt) :]
  in_the_hour = [r for r in rows if float(r['seconds']) <= 3_600]
  assert float(in_the_hour[-1]['mean_return']) == 20.0
