"""Evaluates a checkpoint of a run: the returns of complete episodes.

python -m experiments.evaluate --logdir=runs/pong
python -m experiments.evaluate --logdir=runs/pong --greedy --video=pong.mp4
"""

import dataclasses
import pathlib
import sys
from typing import Any

from absl import flags

from experiments import cli
from experiments import config as config_lib
from experiments.training import evaluation

_DEFINE = {
  bool: flags.DEFINE_boolean,
  int: flags.DEFINE_integer,
  int | None: flags.DEFINE_integer,
  str: flags.DEFINE_string,
}


def report(options: evaluation.Options, record: dict[str, Any]) -> None:
  """Prints the results and the paths of the written files."""
  error = record['standard_error']
  print(
    f'{record["env"]} after {record["num_updates"]:,} updates, '
    f'{record["num_frames"]:,} frames, over {record["num_episodes"]} episodes:'
  )
  print(
    f'  mean return {record["mean"]:.2f}, median {record["median"]:.2f}, '
    f'standard error ' + ('unknown' if error is None else f'{error:.2f}')
  )
  print(f'  {pathlib.Path(options.logdir) / "evaluation.json"}')
  if options.video:
    print(f'  {options.video}')


def define_flags() -> None:
  """Defines one flag for each field of `evaluation.Options`."""
  for field in dataclasses.fields(evaluation.Options):
    text, bounds = field.metadata['help'], field.metadata['bounds']
    _DEFINE[field.type](field.name, field.default, text, **bounds)


def options_from_flags() -> evaluation.Options:
  """Returns the options that the flags specify.

  Raises:
    ConfigError: if --logdir is missing.
  """
  values = flags.FLAGS.flag_values_dict()
  if not values['logdir']:
    raise config_lib.ConfigError(
      '--logdir is missing: give the log directory of a run.'
    )
  return evaluation.Options(
    **{
      field.name: values[field.name]
      for field in dataclasses.fields(evaluation.Options)
    }
  )


def main() -> None:
  """Evaluates a checkpoint as specified by the flags."""
  options = options_from_flags()
  try:
    report(options, evaluation.evaluate(options))
  except KeyboardInterrupt:
    print('Interrupted: nothing was written.', file=sys.stderr)
    sys.exit(130)


if __name__ == '__main__':
  define_flags()
  cli.run(main, needs_devices=True)
