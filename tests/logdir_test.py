"""Log directories: locks, clean-up, and which runs can be resumed."""

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


def test_a_log_directory_in_use_is_rejected_until_its_process_ends(tmp_path):
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
  process.kill()  # The lock ends with its process.
  process.join(60)
  with logdir_lib.claimed(config_for(logdir)) as path:
    assert path == logdir


def test_two_runs_in_one_process_cannot_share_a_log_directory(tmp_path):
  config = config_for(tmp_path / 'run')
  with (
    logdir_lib.claimed(config),
    pytest.raises(config_lib.ConfigError, match='in use'),
    logdir_lib.claimed(config),
  ):
    pass


def test_a_new_log_directory_without_records_is_removed(tmp_path):
  with logdir_lib.claimed(config_for(tmp_path / 'run')) as path:
    assert path.is_dir()
  assert not path.exists()
  with logdir_lib.claimed(config_for(tmp_path / 'run')) as path:
    (path / 'metrics.csv').touch()
  assert (path / 'metrics.csv').exists()


def test_a_tilde_in_the_log_directory_is_expanded(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  with logdir_lib.claimed(config_for('~/run')) as path:
    assert path == tmp_path / 'run'


def test_a_tilde_with_an_unknown_user_is_kept(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with logdir_lib.claimed(config_for('~nobody-at-all/run')) as path:
    assert path == pathlib.Path('~nobody-at-all/run')


def test_default_log_directories_of_two_processes_differ(tmp_path, monkeypatch):
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
  """Makes a log directory like that of a run with a checkpoint."""
  (logdir / 'checkpoints' / '7').mkdir(parents=True)
  (logdir / 'metrics.csv').touch()
  config_json.write(config_for(logdir, **settings), logdir)


NOT_RESUMABLE = [
  field
  for field in dataclasses.fields(config_lib.Config)
  if not (field.metadata['resumable'] or field.metadata['extendable'])
]


@pytest.mark.parametrize('field', NOT_RESUMABLE, ids=lambda field: field.name)
def test_a_changed_flag_that_is_not_resumable_is_rejected_by_name(
  field, tmp_path
):
  recorded_run(tmp_path)
  old = getattr(config_for(tmp_path), field.name)
  new = {bool: lambda: not old, str: lambda: f'{old}x'}.get(
    field.type, lambda: old + 1
  )()
  config = dataclasses.replace(config_for(tmp_path), **{field.name: new})
  with pytest.raises(config_lib.ConfigError) as info:
    logdir_lib.check_resumable(config, tmp_path)
  assert f'--{field.name}={new} ' in str(info.value)
  assert f'{old})' in str(info.value)


def test_a_changed_resumable_flag_is_accepted_and_not_recorded(tmp_path):
  recorded_run(tmp_path)
  config = config_for(
    tmp_path,
    timeout_seconds=7.0,
    checkpoint_seconds=7.0,
    unrolls_per_pass=1,
    env_processes=True,
    keep_checkpoints=7,
    debug_nans=True,
    max_seconds=7.0,
    wandb_project='mine',
    quiet=True,
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


@pytest.mark.parametrize('num_frames', (900, 5_000))
def test_a_changed_number_of_frames_is_accepted_and_recorded(
  num_frames, tmp_path
):
  recorded_run(tmp_path, num_frames=1_000, seed=3)
  config = config_for(tmp_path, num_frames=num_frames, seed=3, quiet=True)
  logdir_lib.check_resumable(config, tmp_path)
  logdir_lib.check_extendable(config, tmp_path, 900)
  before = json.loads((tmp_path / 'config.json').read_text())
  config_json.write(config, tmp_path)
  after = json.loads((tmp_path / 'config.json').read_text())
  assert after == before | {'num_frames': num_frames} and not after['quiet']


def test_fewer_frames_than_trained_are_rejected(tmp_path):
  recorded_run(tmp_path, num_frames=1_000)
  config = config_for(tmp_path, num_frames=1_001)
  with pytest.raises(
    config_lib.ConfigError, match='--num_frames=1001 .* 1002 frames'
  ):
    logdir_lib.check_extendable(config, tmp_path, 1_002)
  # The last update of a run that is over may have trained on more.
  unchanged = config_for(tmp_path, num_frames=1_000)
  logdir_lib.check_extendable(unchanged, tmp_path, 1_002)


@pytest.mark.parametrize('present', ((), ('config',), ('config', 'folder')))
def test_records_without_checkpoints_are_not_overwritten(present, tmp_path):
  if 'config' in present:
    config_json.write(config_for(tmp_path), tmp_path)
  if 'folder' in present:  # The user deleted them.
    (tmp_path / 'checkpoints').mkdir()
  (tmp_path / 'metrics.csv').write_text('mine')
  with pytest.raises(config_lib.ConfigError, match='config.json.*checkpoints'):
    logdir_lib.check_resumable(config_for(tmp_path), tmp_path)


def test_a_run_killed_before_its_first_checkpoint_can_restart(tmp_path):
  config_json.write(config_for(tmp_path), tmp_path)
  logdir_lib.check_resumable(config_for(tmp_path), tmp_path)


@pytest.mark.parametrize(
  'contents,match',
  (('{"seed": ', 'config.json cannot be read'), ('[]', 'JSON object')),
)
def test_an_invalid_config_json_raises_config_error(contents, match, tmp_path):
  (tmp_path / 'config.json').write_text(contents)
  with pytest.raises(config_lib.ConfigError, match=match):
    logdir_lib.check_resumable(config_for(tmp_path), tmp_path)


def test_unknown_settings_are_named():
  with pytest.raises(config_lib.ConfigError, match='log_seconds'):
    config_json.parse({'seed': 3, 'log_seconds': 1.0})
  assert config_json.parse({'seed': 3}) == config_lib.Config(seed=3)


def test_an_existing_log_directory_without_records_is_kept(tmp_path):
  with logdir_lib.claimed(config_for(tmp_path)):
    pass
  assert tmp_path.is_dir()


def test_a_lock_file_removed_while_it_is_being_locked_is_made_again(
  tmp_path, monkeypatch
):
  logdir = tmp_path / 'run'
  flock, calls = logdir_lib.fcntl.flock, []

  def flock_removed_file(*args):
    calls.append(args)
    if len(calls) == 1:  # Its last owner cleans up.
      (logdir / '.lock').unlink()
      logdir.rmdir()
    return flock(*args)

  monkeypatch.setattr(logdir_lib.fcntl, 'flock', flock_removed_file)
  with logdir_lib.claimed(config_for(logdir)):
    assert len(calls) == 2 and (logdir / '.lock').exists()
    with (
      pytest.raises(config_lib.ConfigError, match='in use'),
      logdir_lib.claimed(config_for(logdir)),
    ):
      pass


def test_half_written_files_of_a_killed_process_are_removed(tmp_path):
  ended = FORKS.Process(target=print)
  ended.start()
  ended.join(60)
  stale, own = (
    tmp_path / f'.{pid}.metrics.csv' for pid in (ended.pid, os.getpid())
  )
  stale.touch()
  own.touch()
  with logdir_lib.claimed(config_for(tmp_path)):
    assert own.exists() and not stale.exists()
