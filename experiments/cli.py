"""The shared command-line entry point: parses flags into a Config.

Invalid input prints one line and exits with status 2, Ctrl-C with status 130.
"""

from collections.abc import Callable
import dataclasses
import re
import sys
import traceback
from typing import Any

from absl import app
from absl import flags
from absl import logging
import jax

from experiments import config as config_lib
from experiments import process
from experiments.records import config_json

_DEFINE = {
  bool: flags.DEFINE_boolean,
  int: flags.DEFINE_integer,
  float: flags.DEFINE_float,
  str: flags.DEFINE_string,
}


def define_flags() -> None:
  """Defines --preset and one flag for each field of `Config`."""
  flags.DEFINE_string(
    'preset',
    'catch',
    f'Set of defaults that flags override: {", ".join(config_lib.PRESETS)}.',
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
  """Returns the configuration that the flags specify.

  The flags override the values of --preset. If --preset is not given and
  --logdir holds a run, they override the recorded values of that run.

  Raises:
    ConfigError: if the preset is unknown, if --env differs from the environment
      of the default preset and --preset is not given, or if the recorded
      configuration cannot be read.
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
  """Returns {name: value} of the `Config` fields that were given as flags."""
  names = [field.name for field in dataclasses.fields(config_lib.Config)]
  values = {name: flags.FLAGS[name].value for name in names}
  return {k: v for k, v in values.items() if v is not None}


def run(
  main: Callable[..., None],
  takes_arguments: bool = False,
  needs_devices: bool = False,
) -> None:
  """Parses flags, runs `main` and ends the process.

  The exit status is 2 on invalid input, 130 after Ctrl-C. Output that nobody
  can receive does not end `main`.

  Args:
    main: called without arguments; a ConfigError that it raises is printed as
      one line.
    takes_arguments: call `main` with the list of positional arguments instead
      of rejecting them.
    needs_devices: initialize JAX's devices before `main`, so that a platform
      without devices is invalid input too.
  """

  def checked_main(argv):
    try:
      if len(argv) > 1 and not takes_arguments:
        raise config_lib.ConfigError(f'Unexpected argument {argv[1]!r}.')
      if needs_devices:
        check_devices()
      main(*[argv[1:]] if takes_arguments else [])
    except config_lib.ConfigError as error:
      _exit_with_error(error)

  # Before stderr is replaced: absl would not find, and replace, the handler of
  # messages that were logged by imports; every message would appear twice.
  logging.use_absl_handler()
  # JAX logs every missing backend at level INFO.
  logging.set_verbosity(logging.WARNING)
  interrupted = process.raise_on_interrupt()
  with process.tolerating_lost_output() as lost_output:
    status = _status(lambda: app.run(checked_main, flags_parser=_parse))
    if interrupted():
      status = process.INTERRUPTED
    if error := lost_output():
      status = status or 1
      print(f'Cannot write the output: {error.strerror}.', file=sys.stderr)
    process.end(status)


def _status(call: Callable[[], None]) -> int:
  """Calls `call`, prints the error that it raises; returns the exit status."""
  try:
    call()
    return 0
  except KeyboardInterrupt:
    print('Interrupted.', file=sys.stderr)
    return process.INTERRUPTED
  except SystemExit as error:
    if error.code is None or isinstance(error.code, int):
      return error.code or 0
    print(error.code, file=sys.stderr)
    return 1
  except Exception:
    sys.excepthook(*sys.exc_info())
    return 1


def check_devices() -> None:
  """Initializes JAX's devices.

  Raises:
    ConfigError: if a platform of JAX_PLATFORMS has no devices.
  """
  try:
    jax.local_devices()
  except (RuntimeError, AssertionError) as error:  # JAX asserts for 'cuda'.
    wanted = jax.config.jax_platforms
    reason = str(error).split(' (set JAX_PLATFORMS')[0].rstrip('.')
    raise config_lib.ConfigError(
      f'JAX finds no devices with JAX_PLATFORMS={wanted!r}'
      f'{": " * bool(reason)}{reason}. Install the JAX plugin of this platform '
      'or unset the variable.'
    ) from error


def _recorded(path: str | None) -> dict[str, Any] | None:
  """Returns the configuration recorded in the log directory `path`, if any."""
  if not path:
    return None
  return config_json.read(config_lib.path(path))


def _check_preset_given(values: dict[str, Any]) -> None:
  """Raises a ConfigError if the default preset is for another environment."""
  env = values['env']
  default = config_lib.from_preset(values['preset']).env
  if not flags.FLAGS['preset'].present and env not in (None, default):
    raise config_lib.ConfigError(
      f'--env={env} needs a --preset, because the default preset is for '
      f'{default}. Choose one of {", ".join(config_lib.PRESETS)}: atari for '
      'images, pong for images on a CPU, catch otherwise.'
    )


def _parse(argv: list[str]) -> list[str]:
  try:
    return flags.FLAGS(argv)
  except SystemExit:  # absl exits with status 1 after --help.
    sys.exit(0)
  except flags.Error as error:
    _exit_with_error(flags.Error(_without_noise(str(error))))


def _without_noise(message: str) -> str:
  """Returns a message of absl without its 'ERROR::' and its tuples."""
  message = message.removeprefix('ERROR:: ')
  return re.sub(r"\('(Non-boolean argument) .*\)$", r'\1', message)


def _exit_with_error(error: Exception) -> None:
  if isinstance(error, config_lib.FactoryFailed):  # To be found in their code.
    traceback.print_exception(error.__cause__)
  print('error:', *str(error).split(), file=sys.stderr)  # On one line.
  sys.exit(2)
