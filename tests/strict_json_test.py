"""JSON files hold JSON: any reader accepts them, also with NaN and Infinity."""

import dataclasses
import json
import math

import numpy as np
import pytest

from experiments import config as config_lib
from experiments.records import config_json
from experiments.records import strict_json
from experiments.studies import design
from experiments.studies import runner

INF, NAN = math.inf, math.nan


def strictly(text):
  return json.loads(text, parse_constant=pytest.fail)


def test_numbers_that_are_not_finite_become_strings():
  value = {
    'a': [1, NAN, (INF, -INF)],
    'b': {'c': np.float32(-INF), 'd': np.arange(3), 'e': np.int8(4)},
    'f': [None, True, 'inf', 0.5],
  }
  assert strictly(strict_json.dumps(value)) == {
    'a': [1, 'nan', ['inf', '-inf']],
    'b': {'c': '-inf', 'd': [0, 1, 2], 'e': 4},
    'f': [None, True, 'inf', 0.5],
  }


def test_a_value_without_a_form_in_json_is_an_error():
  with pytest.raises(TypeError):
    strict_json.dumps({'a': {1, 2}})


UNLIMITED = dict(clip_rho_threshold=INF, max_grad_norm=INF, timeout_seconds=INF)


def test_infinite_settings_are_read_back(tmp_path):
  config = config_lib.from_preset('catch', **UNLIMITED, logdir='inf')
  config_json.write(config, tmp_path)
  strictly((tmp_path / 'config.json').read_text())
  recorded = config_json.read(tmp_path)
  assert recorded == dataclasses.asdict(config)
  assert config_json.parse(recorded) == config
  assert config_json.changes(recorded, config) == []


def test_infinity_in_files_of_earlier_versions_is_read(tmp_path):
  config = config_lib.from_preset('catch', **UNLIMITED)
  text = json.dumps(dataclasses.asdict(config))
  assert 'Infinity' in text
  (tmp_path / 'config.json').write_text(text)
  assert config_json.parse(config_json.read(tmp_path)) == config


def test_a_trial_without_an_episode_is_recorded_and_read(tmp_path, monkeypatch):
  trial = design.trials(design.QUICK)[0]
  config = dataclasses.replace(trial.config, max_grad_norm=INF)
  trial = trial._replace(config=config)
  record = dict(
    config=dataclasses.asdict(config), curve=[(8, NAN)], mean_return=NAN
  )
  monkeypatch.setattr(runner, 'run', lambda config: record)
  runner._run_and_write(trial, tmp_path)
  (file,) = tmp_path.iterdir()
  strictly(file.read_text())
  assert math.isnan(runner.read(trial, tmp_path)['mean_return'])
