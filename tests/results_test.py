"""The committed results say what the README says of them."""

import csv
import json
import pathlib

from experiments import config as config_lib

RESULTS = pathlib.Path(__file__).parent.parent / 'experiments' / 'results'


def test_pong_is_learnt_within_an_hour_by_its_preset():
  with open(RESULTS / 'pong' / 'metrics.csv', newline='') as file:
    last = list(csv.DictReader(file))[-1]
  config = json.loads((RESULTS / 'pong' / 'config.json').read_text())
  preset = config_lib.from_preset('pong', logdir=config['logdir'])
  assert config_lib.Config(**config) == preset
  assert config['return_window'] == 50
  assert float(last['mean_return']) >= 18.0
  assert float(last['seconds']) <= 3600.0
  assert int(last['num_frames']) >= config['num_frames']
