"""The door of a script: flags in; bad input is a line and status 2."""

from collections.abc import Callable
import dataclasses
import sys
from typing import Any

from absl import app
from absl import flags
from absl import logging

from experiments import config as config_lib
from experiments.records import config_json

_DEFINE = {
  bool: flags.DEFINE_boolean,
  int: flags.DEFINE_integer,
  float: flags.DEFINE_float,
  str: flags.DEFINE_string,
}


def define_flags() -> None:
  """Defines --preset, and one flag for each field of `Config`."""
  flags.DEFINE_string(
    'preset',
    'catch',
    f'Values to begin with: {", ".join(config_lib.PRESETS)}.',
  )
  for field in dataclasses.fields(config_lib.Config):
    values = (
      f'{preset}: {values.get(field.name, field.default)}'
      for preset, values in config_lib.PRESETS.items()
    )
    text = f'{field.metadata["help"]} ({", ".join(values)}.)'
    choices = field.metadata['choices']
    if choices:
      flags.DEFINE_enum(field.name, None, choices, text)
    else:
      _DEFINE[field.type](field.name, None, text)


def config_from_flags() -> config_lib.Config:
  """The preset, with every flag that was given.

  Where --logdir holds a run and no --preset is given, the run's own values take
  the preset's place.

  Raises:
    ConfigError: if there is no such preset, or none was given for an
      environment that is not the default's.
  """
  values = flags.FLAGS.flag_values_dict()
  recorded = _recorded(values['logdir'])
  if recorded is not None and not flags.FLAGS['preset'].present:
    return dataclasses.replace(
      config_json.parse(recorded), **overrides_from_flags()
    )
  _check_preset_given(values)
  return config_lib.from_preset(values['preset'], **overrides_from_flags())


def overrides_from_flags() -> dict[str, Any]:
  """The settings of a run that flags were given for."""
  names = [field.name for field in dataclasses.fields(config_lib.Config)]
  values = {name: flags.FLAGS[name].value for name in names}
  return {k: v for k, v in values.items() if v is not None}


def run(main: Callable[..., None], takes_arguments: bool = False) -> None:
  """Parses flags and runs `main`; what the user got wrong is one line.

  With `takes_arguments` main is given the list of what is not a flag.
  """

  def checked_main(argv):
    try:
      if takes_arguments:
        return main(argv[1:])
      if len(argv) > 1:
        raise config_lib.ConfigError(f'Unexpected argument {argv[1]!r}.')
      main()
    except config_lib.ConfigError as error:
      _refuse(error)

  logging.set_verbosity(logging.WARNING)  # jax lists absent backends as news.
  app.run(checked_main, flags_parser=_parse)


def _recorded(path: str | None) -> dict[str, Any] | None:
  if not path:
    return None
  return config_json.read(config_lib.path(path))


def _check_preset_given(values: dict[str, Any]) -> None:
  """Refuses to train one environment with the values of another, unasked."""
  env = values['env']
  default = config_lib.from_preset(values['preset']).env
  if not flags.FLAGS['preset'].present and env not in (None, default):
    raise config_lib.ConfigError(
      f'--env={env} needs a --preset, the values to begin with: '
      f'{", ".join(config_lib.PRESETS)}.'
    )


def _parse(argv: list[str]) -> list[str]:
  try:
    return flags.FLAGS(argv)
  except SystemExit:  # After --help, which absl takes for a failure.
    sys.exit(0)
  except flags.Error as error:
    _refuse(error)


def _refuse(error: Exception) -> None:
  print('error:', *str(error).split(), file=sys.stderr)  # On one line.
  sys.exit(2)
