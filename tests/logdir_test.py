"""A log directory belongs to one run, which goes on in its own meaning."""

import dataclasses
import json
import multiprocessing
import os
import pathlib

import pytest

from experiments import config as config_lib
from experiments.records import config_json
from experiments.training import logdir as logdir_lib

FORKS = multiprocessing.get_context('forkserver')


def config_for(logdir, **settings):
  return config_lib.from_preset('catch', logdir=str(logdir), **settings)


def hold(logdir, claimed, release):
  with logdir_lib.claimed(config_for(logdir)) as path:
    (path / 'config.json').write_text('{}')
    claimed.set()
    release.wait(60)


def test_a_log_directory_in_use_is_refused_until_its_process_is_gone(tmp_path):
  logdir = tmp_path / 'run'
  claimed, release = FORKS.Event(), FORKS.Event()
  process = FORKS.Process(target=hold, args=(logdir, claimed, release))
  process.start()
  assert claimed.wait(60)
  with (
    pytest.raises(config_lib.ConfigError, match=f'process {process.pid}'),
    logdir_lib.claimed(config_for(logdir)),
  ):
    pass
  process.kill()  # Even killed, it leaves no claim behind.
  process.join(60)
  with logdir_lib.claimed(config_for(logdir)) as path:
    assert path == logdir


def test_in_one_process_too_there_is_one_run_at_a_time(tmp_path):
  config = config_for(tmp_path / 'run')
  with (
    logdir_lib.claimed(config),
    pytest.raises(config_lib.ConfigError, match='in use by another run'),
    logdir_lib.claimed(config),
  ):
    pass


def test_a_directory_in_which_nothing_was_recorded_is_removed(tmp_path):
  with logdir_lib.claimed(config_for(tmp_path / 'run')) as path:
    assert path.is_dir()
  assert not path.exists()
  with logdir_lib.claimed(config_for(tmp_path / 'run')) as path:
    (path / 'metrics.csv').touch()
  assert (path / 'metrics.csv').exists()


def test_a_log_directory_may_begin_at_home(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  with logdir_lib.claimed(config_for('~/run')) as path:
    assert path == tmp_path / 'run'


def test_a_log_directory_of_nobody_is_a_mere_name(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with logdir_lib.claimed(config_for('~nobody-at-all/run')) as path:
    assert path == pathlib.Path('~nobody-at-all/run')


def test_processes_name_their_log_directories_apart(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  names = set()
  for process in (7, 8):
    monkeypatch.setattr(
      logdir_lib.os, 'getpid', lambda process=process: process
    )
    with logdir_lib.claimed(config_for('')) as path:
      names.add(path.name[-2:])
  assert names == {'-7', '-8'}


def recorded_run(logdir, **settings):
  """A log directory as a run leaves it."""
  (logdir / 'checkpoints' / '7').mkdir(parents=True)
  (logdir / 'metrics.csv').touch()
  config_json.write(config_for(logdir, **settings), logdir)


MEANINGS = [
  field
  for field in dataclasses.fields(config_lib.Config)
  if not field.metadata['resumable']
]


@pytest.mark.parametrize('field', MEANINGS, ids=lambda field: field.name)
def test_a_flag_that_changes_the_meaning_is_refused_by_name(field, tmp_path):
  recorded_run(tmp_path)
  old = getattr(config_for(tmp_path), field.name)
  new = {bool: lambda: not old, str: lambda: f'{old}x'}.get(
    field.type, lambda: old + 1
  )()
  config = dataclasses.replace(config_for(tmp_path), **{field.name: new})
  with pytest.raises(config_lib.ConfigError) as info:
    logdir_lib.check_resumable(config, tmp_path)
  assert f'--{field.name}={new} (it has {old})' in str(info.value)


def test_a_flag_that_changes_no_meaning_may_change(tmp_path):
  recorded_run(tmp_path)
  config = config_for(
    tmp_path,
    timeout_seconds=7.0,
    checkpoint_seconds=7.0,
    unrolls_per_pass=1,
    debug_nans=True,
  )
  changed = {
    field.name
    for field in dataclasses.fields(config)
    if getattr(config, field.name) != getattr(config_for(tmp_path), field.name)
  }
  assert changed | {'logdir'} == {
    field.name
    for field in dataclasses.fields(config)
    if field.metadata['resumable']
  }
  logdir_lib.check_resumable(config, tmp_path)
  config_json.write(config, tmp_path)
  saved = json.loads((tmp_path / 'config.json').read_text())
  assert saved['timeout_seconds'] == config_for(tmp_path).timeout_seconds


@pytest.mark.parametrize('there', ((), ('config',), ('config', 'folder')))
def test_records_without_checkpoints_are_not_overwritten(there, tmp_path):
  if 'config' in there:
    config_json.write(config_for(tmp_path), tmp_path)
  if 'folder' in there:  # The user needed the space.
    (tmp_path / 'checkpoints').mkdir()
  (tmp_path / 'metrics.csv').write_text('mine')
  with pytest.raises(config_lib.ConfigError, match='already holds a run'):
    logdir_lib.check_resumable(config_for(tmp_path), tmp_path)


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path):
  config_json.write(config_for(tmp_path), tmp_path)
  logdir_lib.check_resumable(config_for(tmp_path), tmp_path)


@pytest.mark.parametrize(
  'contents,match',
  (('{"seed": ', 'config.json cannot be read'), ('[]', 'no configuration')),
)
def test_a_spoilt_configuration_is_said(contents, match, tmp_path):
  (tmp_path / 'config.json').write_text(contents)
  with pytest.raises(config_lib.ConfigError, match=match):
    logdir_lib.check_resumable(config_for(tmp_path), tmp_path)


def test_settings_of_another_version_are_named():
  with pytest.raises(config_lib.ConfigError, match='not know: log_seconds'):
    config_json.parse({'seed': 3, 'log_seconds': 1.0})
  assert config_json.parse({'seed': 3}) == config_lib.Config(seed=3)


def test_a_folder_that_was_there_stays_though_nothing_was_recorded(tmp_path):
  with logdir_lib.claimed(config_for(tmp_path)):
    pass
  assert tmp_path.is_dir()


def test_a_lock_that_was_removed_while_it_was_waited_for_is_no_claim(
  tmp_path, monkeypatch
):
  logdir = tmp_path / 'run'
  flock, calls = logdir_lib.fcntl.flock, []

  def removed_before(*args):
    calls.append(args)
    if len(calls) == 1:  # Another process, refused, has cleaned up.
      (logdir / '.lock').unlink()
      logdir.rmdir()
    return flock(*args)

  monkeypatch.setattr(logdir_lib.fcntl, 'flock', removed_before)
  with logdir_lib.claimed(config_for(logdir)):
    assert len(calls) == 2 and (logdir / '.lock').exists()
    with (
      pytest.raises(config_lib.ConfigError, match='in use'),
      logdir_lib.claimed(config_for(logdir)),
    ):
      pass


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
  gone = FORKS.Process(target=print)
  gone.start()
  gone.join(60)
  left, own = (
    tmp_path / f'.{pid}.metrics.csv' for pid in (gone.pid, os.getpid())
  )
  left.touch()
  own.touch()
  with logdir_lib.claimed(config_for(tmp_path)):
    assert own.exists() and not left.exists()
