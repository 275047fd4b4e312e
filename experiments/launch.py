"""The door of every script: flags in; bad input is a line and status 2."""

from collections.abc import Callable
import datetime
import pathlib
import sys

from absl import app
from absl import flags
from absl import logging

from experiments import config as config_lib


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
  if (logdir / 'metrics.csv').exists():
    raise config_lib.ConfigError(
      f'--logdir={logdir} already holds a run; choose another.'
    )
  try:
    logdir.mkdir(parents=True, exist_ok=True)
    probe = logdir / '.writable'
    probe.touch()
    probe.unlink()
  except OSError as error:
    raise config_lib.ConfigError(
      f'Cannot write to --logdir={logdir}: {error.strerror}.'
    ) from error
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
  print(f'error: {error}', file=sys.stderr)
  sys.exit(2)
