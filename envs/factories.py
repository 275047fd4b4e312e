"""Factories by name, 'module:factory', and the settings they are called with.

The factory is a function or a class:

    def make_maze(seed): ...  # in my_envs.py: --env=my_envs:make_maze
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import functools
import importlib
import inspect
from typing import Any

from absl import logging

# What a user's environment may raise: some simulators call sys.exit().
RAISED = (Exception, SystemExit)


class FactoryError(ValueError):
  """A factory does not exist, or what it makes is not supported."""


def is_named(name: str) -> bool:
  """Returns whether `name` names a factory, 'module:factory'."""
  return ':' in name


def find(name: str) -> Callable[..., Any]:
  """Returns the factory that `name`, 'module:factory', refers to.

  Raises:
    FactoryError: if the module or the factory does not exist, or the module
      cannot be imported.
  """
  module_name, _, attribute = name.partition(':')
  if not attribute:
    raise FactoryError(f'{name!r} is not of the form module:factory.')
  try:
    module = importlib.import_module(module_name)
  except ModuleNotFoundError as error:
    raise FactoryError(
      f'Cannot make {name}: {error}. Python searches the current directory and '
      'the installed packages.'
    ) from error
  except (ValueError, TypeError) as error:
    if module_name and not module_name.startswith('.'):
      raise _unimportable(name, error) from error
    raise FactoryError(
      f'{name!r} is not of the form module:factory.'
    ) from error
  except Exception as error:  # Whatever the module raises.
    raise _unimportable(name, error) from error
  factory = getattr(module, attribute, None)
  if not callable(factory):
    raise FactoryError(
      f'Cannot make {name}: module {module_name} has no function or class '
      f'{attribute!r}.'
    )
  return factory


def accepts(
  factory: Callable[..., Any], name: str, *, by_name: bool = False
) -> bool:
  """Returns whether `call` passes the argument `name` to the factory.

  With `by_name`, an argument that only **kwargs accepts does not count.
  """
  parameters = _parameters(factory)
  return name in parameters or (not by_name and _catches_all(parameters))


def requires(factory: Callable[..., Any], name: str) -> bool:
  """Returns whether the factory has the argument `name` without a default."""
  parameter = _parameters(factory).get(name)
  return parameter is not None and parameter.default is parameter.empty


def call(
  name: str,
  factory: Callable[..., Any],
  kwargs: Mapping[str, Any],
  **settings: Any,
) -> Any:
  """Calls a factory.

  Args:
    name: of the factory, for messages.
    factory: a function, a class or any callable.
    kwargs: the user's arguments; all are passed.
    **settings: ours. Those are passed that are among the factory's arguments.
      A factory with **kwargs gets all of them, except those that what it calls
      does not know.

  Raises:
    FactoryError: if the factory does not accept these arguments, or raises.
  """
  parameters = _parameters(factory)
  catches_all = _catches_all(parameters)
  known = {k: v for k, v in settings.items() if catches_all or k in parameters}
  known |= kwargs
  _check_arguments(name, factory, known)
  while True:
    try:
      return factory(**known)
    except FactoryError:
      raise
    except RAISED as error:
      unknown = _unexpected(error, settings.keys() & known.keys())
      if unknown and catches_all and unknown not in parameters:
        del known[unknown]
        continue
      raise FactoryError(
        f'Cannot make {name}: {type(error).__name__}: {error}.'
      ) from error


@functools.cache
def warn_unseeded(name: str) -> None:
  """Logs, once for each factory, that its environments have no seed."""
  logging.warning(
    '%s takes no seed: its environments may all be the same, and runs with it '
    'are not reproducible.',
    name,
  )


def _unimportable(name: str, error: Exception) -> FactoryError:
  module = name.partition(':')[0]
  return FactoryError(
    f'Cannot make {name}: {module} raised {type(error).__name__}: {error}.'
  )


def _parameters(
  factory: Callable[..., Any],
) -> Mapping[str, inspect.Parameter]:
  try:
    return inspect.signature(factory).parameters
  except (ValueError, TypeError):  # Some built-in callables have none.
    return {}


def _catches_all(parameters: Mapping[str, inspect.Parameter]) -> bool:
  kinds = {parameter.kind for parameter in parameters.values()}
  return inspect.Parameter.VAR_KEYWORD in kinds


def _check_arguments(
  name: str, factory: Callable[..., Any], known: Mapping[str, Any]
) -> None:
  """Raises a FactoryError if the signature does not accept the arguments."""
  try:
    signature = inspect.signature(factory)
  except (ValueError, TypeError):
    return
  try:
    signature.bind(**known)
  except TypeError as error:
    raise FactoryError(
      f'Cannot call {name} with {", ".join(known) or "no arguments"}: {error}.'
    ) from error


def _unexpected(error: BaseException, names: Any) -> str | None:
  """Returns the one of `names` that `error` calls an unexpected argument."""
  if not isinstance(error, TypeError) or 'unexpected keyword' not in str(error):
    return None
  return next((name for name in names if f"'{name}'" in str(error)), None)


def numbered(indices: Sequence[int]) -> str:
  """Returns 'environment 3' or 'environments 3, 5'."""
  numbers = ', '.join(map(str, indices)) or 'of unknown number'
  return f'environment{"s" * (len(indices) > 1)} {numbers}'
