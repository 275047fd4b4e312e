"""The door of every script: flags in; bad input is a line and status 2."""

from collections.abc import Callable
import dataclasses
import datetime
import pathlib
import sys

from absl import app
from absl import flags
from absl import logging

from experiments import config as config_lib


def define_flags() -> None:
  """Defines --preset, and one flag for each field of `Config`."""
  flags.DEFINE_string(
    'preset',
    'catch',
    f'Values to begin with: {", ".join(config_lib.PRESETS)}.',
  )
  define = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
  }
  for field in dataclasses.fields(config_lib.Config):
    values = (
      f'{preset}: {values.get(field.name, field.default)}'
      for preset, values in config_lib.PRESETS.items()
    )
    text = f'{field.metadata["help"]} ({", ".join(values)}.)'
    define[field.type](field.name, None, text)


def config_from_flags() -> config_lib.Config:
  """The preset, with every flag that was given.

  Raises:
    ConfigError: if there is no such preset.
  """
  values = flags.FLAGS.flag_values_dict()
  names = [field.name for field in dataclasses.fields(config_lib.Config)]
  given = {name: values[name] for name in names if values[name] is not None}
  return config_lib.from_preset(values['preset'], **given)


def run(main: Callable[[], None]) -> None:
  """Parses flags and runs `main`; what the user got wrong is one line."""

  def checked_main(argv):
    try:
      if len(argv) > 1:
        raise config_lib.ConfigError(f'Unexpected argument {argv[1]!r}.')
      main()
    except config_lib.ConfigError as error:
      _refuse(error)

  logging.set_verbosity(logging.WARNING)  # jax lists absent backends as news.
  app.run(checked_main, flags_parser=_parse)


def make_logdir(config: config_lib.Config) -> pathlib.Path:
  """Makes the run's log directory.

  Raises:
    ConfigError: if it cannot be written, or holds a run already.
  """
  logdir = pathlib.Path(config.logdir or _new_name(config))
  try:
    taken = (logdir / 'metrics.csv').exists()
    if not taken:
      logdir.mkdir(parents=True, exist_ok=True)
      probe = logdir / '.writable'
      probe.touch()
      probe.unlink()
  except OSError as error:
    raise config_lib.ConfigError(
      f'Cannot write to --logdir={logdir}: {error.strerror}.'
    ) from error
  if taken:
    raise config_lib.ConfigError(
      f'--logdir={logdir} already holds a run; choose another.'
    )
  return logdir


def _new_name(config: config_lib.Config) -> str:
  now = datetime.datetime.now().strftime('%Y%m%d-%H%M%S')
  return f'runs/{config.env}-seed{config.seed}-{now}'


def _parse(argv: list[str]) -> list[str]:
  try:
    return flags.FLAGS(argv)
  except flags.Error as error:
    _refuse(error)


def _refuse(error: Exception) -> None:
  print('error:', *str(error).split(), file=sys.stderr)  # On one line.
  sys.exit(2)
