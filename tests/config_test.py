"""Tests of configurations: defaults, presets and validation."""

import dataclasses
import math
import os
import pathlib

import dm_env
import jax
import numpy as np
import pytest

from envs import catch
from experiments import config as config_lib
from experiments.records import config_json
from experiments.training import builders
from experiments.training import logdir as logdir_lib
from experiments.training import validation


def test_defaults_are_the_papers_atari_values():
  config = config_lib.from_preset('atari')
  assert config == config_lib.Config()
  expected = dict(
    unroll_length=20,
    batch_size=32,
    discount=0.99,
    baseline_cost=0.5,
    entropy_cost=0.01,
    rmsprop_decay=0.99,
    rmsprop_epsilon=0.01,
    learning_rate=6e-4,
    max_grad_norm=40.0,
    reward_clipping='abs_one',
    num_frames=200_000_000,
    use_lstm=False,
    clip_rho_threshold=1.0,
    clip_c_threshold=1.0,
    lambda_=1.0,
  )
  assert {k: getattr(config, k) for k in expected} == expected


def test_overrides_take_precedence_over_the_preset():
  config = config_lib.from_preset('catch', learning_rate=0.5)
  assert config.env == 'Catch' and config.learning_rate == 0.5


@pytest.mark.parametrize('preset', config_lib.PRESETS)
def test_every_preset_is_valid_on_one_device(preset):
  validation.validate(config_lib.from_preset(preset), num_devices=1)


@pytest.mark.parametrize(
  'settings,devices,match',
  (
    (dict(batch_size=48), 1, '--batch_size=48.*--envs_per_actor=32'),
    (dict(), 5, '--batch_size=32.*devices'),
    (dict(unrolls_per_pass=5), 1, '--unrolls_per_pass=5.*32'),
    (dict(num_actors=0), 1, '--num_actors=0'),
    (dict(seed=-1), 1, '--seed=-1'),
    (dict(seed=2**32), 1, '--seed=4294967296'),
    (dict(discount=1.5), 1, '--discount=1.5'),
    (dict(learning_rate=math.nan), 1, '--learning_rate=nan'),
    (dict(learning_rate=math.inf), 1, '--learning_rate=inf'),
    (dict(entropy_cost=math.inf), 1, '--entropy_cost=inf'),
    (dict(max_grad_norm=-math.inf), 1, '--max_grad_norm=-inf'),
    (dict(timeout_seconds=0.0), 1, '--timeout_seconds=0.0'),
    (dict(num_frames='3'), 1, "num_frames='3'.* int"),
    (dict(batch_size=32.0), 1, 'batch_size=32.0.* int'),
    (dict(use_lstm='no'), 1, "use_lstm='no'.* bool"),
    (dict(num_actors=True), 1, 'num_actors=True.* int'),
  ),
)
def test_invalid_values_raise_config_error(settings, devices, match):
  with pytest.raises(config_lib.ConfigError, match=match):
    validation.validate(config_lib.from_preset('catch', **settings), devices)


@pytest.mark.parametrize(
  'name', ('max_grad_norm', 'clip_rho_threshold', 'clip_pg_rho_threshold')
)
@pytest.mark.parametrize('zero', (0.0, -0.0, 0))
def test_thresholds_at_which_nothing_is_trained_are_rejected(name, zero):
  config = config_lib.from_preset('catch', **{name: zero})
  with pytest.raises(
    config_lib.ConfigError, match=f'--{name}=0 trains nothing'
  ):
    validation.validate(config, num_devices=1)


def test_one_step_targets_are_valid():
  config = config_lib.from_preset('catch', clip_c_threshold=0.0, lambda_=0.0)
  validation.validate(config, num_devices=1)


def test_several_hosts_are_rejected(monkeypatch):
  monkeypatch.setattr(jax, 'process_count', lambda: 3)
  with pytest.raises(config_lib.ConfigError, match='3 processes.*hosts'):
    validation.validate(config_lib.from_preset('catch'), num_devices=1)


@pytest.mark.parametrize(
  'rho_bar,c_bar,correction,warns',
  (
    (0.5, 0.75, 'vtrace', True),
    (1.0, math.inf, 'vtrace', True),
    (0.75, 0.75, 'vtrace', False),
    (2.0, 0.5, 'vtrace', False),
    (math.inf, math.inf, 'vtrace', False),
    (0.5, 0.75, 'one_step', False),  # It uses neither.
  ),
)
def test_a_rho_bar_below_c_bar_is_warned_of(
  monkeypatch, rho_bar, c_bar, correction, warns
):
  warnings = []
  monkeypatch.setattr(
    validation.logging,
    'warning',
    lambda text, *args: warnings.append(text % args),
  )
  config = config_lib.from_preset(
    'catch',
    clip_rho_threshold=rho_bar,
    clip_c_threshold=c_bar,
    correction=correction,
  )
  validation.validate(config, num_devices=1)
  assert not warnings  # Validation alone says nothing.
  validation.warn(config)
  assert len(warnings) == warns
  if warns:
    assert f'={rho_bar:g} ' in warnings[0] and f'={c_bar:g},' in warnings[0]


def test_infinite_thresholds_are_valid():
  config = config_lib.from_preset(
    'catch', clip_rho_threshold=math.inf, max_grad_norm=math.inf
  )
  validation.validate(config, num_devices=1)


def test_errors_for_unknown_presets_name_near_matches():
  with pytest.raises(config_lib.ConfigError, match='cath.*catch'):
    config_lib.from_preset('cath')


def test_errors_for_unknown_settings_name_near_matches():
  with pytest.raises(config_lib.ConfigError, match='batchsize.*batch_size'):
    config_lib.from_preset('catch', batchsize=8)


def test_float_fields_accept_integers():
  config = config_lib.from_preset(
    'catch', learning_rate=1, checkpoint_seconds=0
  )
  validation.validate(config, num_devices=1)


@pytest.mark.parametrize(
  'name, value, expected',
  (
    ('seed', np.int64(9), 9),
    ('num_actors', np.uint8(3), 3),
    ('learning_rate', np.float32(3e-4), 3e-4),
    ('learning_rate', np.float64(0.1) ** 3, 0.1**3),
    ('entropy_cost', np.float16(0.02), 0.02),
    ('max_grad_norm', np.float32('inf'), math.inf),
    ('max_grad_norm', np.int32(5), 5),
    ('use_lstm', np.bool_(True), True),
    ('torso', np.str_('mlp'), 'mlp'),
    ('logdir', pathlib.PurePath('runs') / 'b', os.path.join('runs', 'b')),
  ),
)
def test_numpy_scalars_and_paths_become_python_values(
  name, value, expected, tmp_path
):
  config = config_lib.from_preset('catch', **{name: value})
  validation.check_fields(config)
  assert getattr(config, name) == expected
  assert type(getattr(config, name)) is type(expected)
  assert dataclasses.replace(config_lib.Config(), **{name: value}) == (
    config_lib.Config(**{name: expected})
  )
  config_json.write(config, tmp_path)
  assert config_json.parse(config_json.read(tmp_path)) == config


@pytest.mark.parametrize(
  'name, value',
  (
    ('seed', np.bool_(True)),
    ('seed', np.float64(1.0)),
    ('use_lstm', np.int64(1)),
    ('learning_rate', np.str_('0.1')),
    ('num_actors', np.array([1])),
    ('num_actors', pathlib.Path('1')),
  ),
)
def test_numpy_scalars_of_another_type_are_rejected(name, value):
  config = config_lib.from_preset('catch', **{name: value})
  with pytest.raises(config_lib.ConfigError, match=f'{name}=.* not of type'):
    validation.check_fields(config)


@pytest.mark.parametrize(
  'text',
  ('gs://bucket/a', 's3://b', 'file:///a', pathlib.Path('gs://bucket/a')),
)
def test_urls_are_not_paths(text, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(config_lib.ConfigError, match='is a URL'):
    config_lib.path(text)
  config = config_lib.from_preset('catch', logdir=text)
  with (
    pytest.raises(config_lib.ConfigError, match='is a URL'),
    logdir_lib.claimed(config),
  ):
    pass
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('text', ('a:b/c', 'runs/x://y', 'gs/a', '1://2'))
def test_paths_with_colons_are_paths(text):
  assert config_lib.path(text) == pathlib.Path(text)


def test_every_field_has_help():
  for field in dataclasses.fields(config_lib.Config):
    assert len(field.metadata['help']) > 10


def test_numeric_fields_need_bounds():
  for default in (3, 0.5):
    with pytest.raises(TypeError, match='bounds'):
      config_lib._field(default, 'a number')
  config_lib._field(True, 'a switch')


@pytest.mark.parametrize(
  'field',
  [f for f in dataclasses.fields(config_lib.Config) if f.metadata['choices']],
  ids=lambda field: field.name,
)
def test_values_outside_the_choices_are_rejected(field):
  for value in field.metadata['choices']:
    validation.check_fields(config_lib.Config(**{field.name: value}))
  wrong = config_lib.Config(**{field.name: field.default[:-1]})
  with pytest.raises(
    config_lib.ConfigError, match=f'--{field.name}=.*{field.default}'
  ):
    validation.check_fields(wrong)


def test_builders_support_every_choice():
  env = catch.Catch(1, 0)
  big = dm_env.specs.Array((84, 84, 4), np.uint8)
  for field in dataclasses.fields(config_lib.Config):
    for value in field.metadata['choices']:
      config = config_lib.Config(**{field.name: value})
      assert builders.make_loss(config) and builders.reward_clipping(config)
      env.observation_spec = lambda: big
      assert builders.make_agent(config, env)
