"""What a training run prints, as text."""

import dataclasses
import pathlib
import shlex

from agents import replay
from experiments import config as config_lib
from experiments.records import config_json
from experiments.records import metrics as metrics_lib
from experiments.training import builders
from experiments.training import setup as setup_lib

_RECORDS = (
  'config.json',
  'metrics.csv',
  'learning_curve.png',
  'diagnostics.png',
  'checkpoints',
)


def say(config: config_lib.Config, text: str) -> None:
  """Prints a text, unless the run is quiet."""
  if not config.quiet:
    print(text)


def resuming(setup: setup_lib.Setup, logdir: pathlib.Path) -> str:
  """Returns where a run resumes, and what a changed --num_frames does."""
  new, num_frames = setup.config, setup.run.num_frames
  text = f'Resuming from update {setup.run.num_updates:,}.'
  recorded = config_json.read(logdir) or {}
  if 'num_frames' not in config_json.extended(recorded, new):
    return text
  old = dataclasses.replace(
    new, num_frames=config_json.parse(recorded).num_frames
  )
  before, after = (builders.make_schedule(c)(num_frames) for c in (old, new))
  return (
    f'{text}\n'
    f'--num_frames is now {new.num_frames:,} instead of {old.num_frames:,}: '
    f'the learning rate at frame {num_frames:,} changes from {before:.3g} to '
    f'{after:.3g}, and decays linearly to 0 at the new end.'
  )


def start(setup: setup_lib.Setup, logdir: pathlib.Path) -> str:
  """Returns what is trained where, and the size of a replay buffer."""
  config, devices = setup.config, setup.devices
  text = (
    f'Training {config.env} on {len(devices)} x {devices[0].device_kind}, '
    f'{"resumed" if setup.run.num_updates else "a new run"}: {logdir}'
  )
  return f'{text}\n{_replay(setup)}' if setup.replay_buffer else text


def out_of_time(config: config_lib.Config, logdir: pathlib.Path) -> str:
  """Returns that --max_seconds has passed, and how to resume."""
  return (
    f'Stopped after --max_seconds={config.max_seconds:g}: a checkpoint is '
    'written. To resume, run: python -m experiments.train '
    f'--logdir={shlex.quote(str(logdir))}'
  )


def interrupted(logdir: pathlib.Path) -> str:
  """Returns that Ctrl-C has ended the run, and how a program resumes it."""
  return (
    'Interrupted: a checkpoint is written. To resume, train again with '
    f'logdir={str(logdir)!r}.'
  )


def end(
  config: config_lib.Config, summary: metrics_lib.Summary, logdir: pathlib.Path
) -> str:
  """Returns a summary of the run and the paths of its records."""
  return '\n'.join(
    (
      f'Trained on {summary.num_frames:,} frames of {config.env} in '
      f'{summary.seconds:.1f} s ({summary.num_updates:,} updates, '
      f'{summary.num_frames / summary.seconds:,.0f} frames/s).',
      f'Mean return over the last {config.return_window} episodes: '
      f'{summary.mean_return:.2f}',
      *(f'  {logdir / name}' for name in _RECORDS),
      f'  {logdir}/events.out.tfevents.* (TensorBoard)',
    )
  )


def _replay(setup: setup_lib.Setup) -> str:
  """Returns a sentence about the capacity and the size of the replay buffer."""
  config = setup.config
  template = builders.zero_trajectory(config, setup.agent, setup.envs[0])
  mebibytes = replay.num_bytes(template, config.replay_capacity) / 2**20
  kept = config.replay_capacity // config.envs_per_actor * config.envs_per_actor
  return (
    f'Replay buffer: the last {kept:,} unrolls, at most {mebibytes:,.1f} MiB '
    'on the device and in each checkpoint. While a checkpoint is written, it '
    'takes up to twice as much memory besides.'
  )
