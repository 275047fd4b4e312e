"""Commands on a JAX platform without devices: one sentence, status 2."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

from experiments import cli
from experiments import config as config_lib

ROOT = pathlib.Path(__file__).parent.parent


def run_command(name, *args, **variables):
  return subprocess.run(
    [sys.executable, '-m', f'experiments.{name}', *args],
    cwd=ROOT,
    text=True,
    capture_output=True,
    env=os.environ | variables,
    timeout=300,
    check=False,
  )


@pytest.mark.parametrize(
  'command',
  (
    ('evaluate', '--logdir=results/pong'),
    *(
      pytest.param(command, marks=pytest.mark.slow)
      for command in (
        ('train', '--preset=catch'),
        ('check',),
        ('benchmark',),
        ('recompute', 'README.md'),
        ('fixed_points',),
      )
    ),
  ),
  ids=lambda command: command[0],
)
def test_a_platform_without_devices_is_named_in_one_sentence(command):
  result = run_command(*command, JAX_PLATFORMS='abacus')
  assert result.returncode == 2, result.stderr
  assert result.stderr.startswith('error: ') and result.stderr.count('\n') == 1
  assert "JAX_PLATFORMS='abacus'" in result.stderr


# JAX raises either, depending on the platform.
@pytest.mark.parametrize('error', (AssertionError(), RuntimeError('no chip.')))
def test_every_error_of_jax_without_devices_is_invalid_input(
  error, monkeypatch
):
  def fail():
    raise error

  monkeypatch.setattr(jax, 'local_devices', fail)
  with pytest.raises(config_lib.ConfigError, match='no devices') as raised:
    cli.check_devices()
  assert '..' not in str(raised.value)


@pytest.mark.parametrize(
  'flag, message',
  (
    ('--debug_nans=7', 'error: flag --debug_nans=7: Non-boolean argument\n'),
    ('--flagfile=/none/at/all', 'error: Unable to open flagfile'),
  ),
)
def test_errors_of_flags_are_sentences(flag, message, capsys, monkeypatch):
  monkeypatch.setattr(cli.flags, 'FLAGS', cli.flags.FlagValues())
  cli.flags.DEFINE_boolean('debug_nans', False, '', flag_values=cli.flags.FLAGS)
  with pytest.raises(SystemExit) as stopped:
    cli._parse(['train', flag])
  assert stopped.value.code == 2
  assert capsys.readouterr().err.startswith(message)
