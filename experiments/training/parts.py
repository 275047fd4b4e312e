"""The parts that a user may bring: environment, agent, optimizer and loss.

Each part is made by a factory, which has a name 'module:factory' or is given as
a Python object. The configuration records the names, so that every command can
rebuild the run from its log directory.
"""

from collections.abc import Callable
import dataclasses
import functools
import inspect
import sys
from typing import Any
from typing import NamedTuple

import optax

from agents import agent as agent_lib
from agents import loss_interface
from envs import environment
from envs import factories
from experiments import config as config_lib
from experiments.training import builders

MakeAgent = Callable[
  [config_lib.Config, environment.Environment], agent_lib.Agent
]
MakeOptimizer = Callable[[config_lib.Config], optax.GradientTransformation]
MakeLoss = Callable[[config_lib.Config], loss_interface.Loss]


class Parts(NamedTuple):
  """The factories of a run's parts; None: that which the configuration names.

  Without a name, the parts are those of `builders`.
  """

  # Makes one environment, or a batch: see `--env=module:factory`.
  make_env: Callable[..., Any] | None = None
  make_agent: MakeAgent | None = None
  make_optimizer: MakeOptimizer | None = None
  make_loss: MakeLoss | None = None


AS_CONFIGURED = Parts()
_ARGUMENTS = {  # Of the factories that `find` returns.
  'agent': ('config', 'env'),
  'optimizer': ('config',),
  'loss': ('config',),
}


def record(config: config_lib.Config, parts: Parts) -> config_lib.Config:
  """Returns `config` with the names of the factories in `parts`."""
  names = {
    name.removeprefix('make_'): factory_name(factory)
    for name, factory in parts._asdict().items()
    if factory is not None
  }
  return dataclasses.replace(config, **names)


def factory_name(factory: Callable[..., Any]) -> str:
  """Returns 'module:factory', by which another process can find the factory.

  A local function, a lambda, a partial or another callable object has a name
  that cannot be found, but is the same in every process.
  """
  if isinstance(factory, functools.partial):
    return f'{factory_name(factory.func)}(...)'
  module = getattr(factory, '__module__', type(factory).__module__)
  spec = getattr(sys.modules.get(module), '__spec__', None)
  if spec is not None:  # The module of `python -m` calls itself __main__.
    module = spec.name
  unnamed = f'{type(factory).__qualname__}(...)'
  return f'{module}:{getattr(factory, "__qualname__", unnamed)}'


def find(config: config_lib.Config, parts: Parts = AS_CONFIGURED) -> Parts:
  """Returns all factories of a run, except `make_env`, which may be None.

  Args:
    config: names the factories that `parts` does not give.
    parts: factories that were given as Python objects.

  Raises:
    ConfigError: if there is no factory of a recorded name, or it takes other
      arguments.
  """
  return Parts(
    parts.make_env,
    parts.make_agent or _named(config, 'agent', builders.make_agent),
    parts.make_optimizer
    or _named(config, 'optimizer', builders.make_optimizer),
    parts.make_loss or _named(config, 'loss', builders.make_loss),
  )


def make(
  config: config_lib.Config, field: str, factory: Callable[..., Any], *args: Any
) -> Any:
  """Returns what the factory of a part makes.

  Raises:
    FactoryFailed: if a factory that `config` names raises an error.
  """
  name = getattr(config, field)
  try:
    return factory(*args)
  except config_lib.ConfigError:
    raise
  except Exception as error:  # Whatever the user's code raises.
    if not name:  # It is ours.
      raise
    raise config_lib.FactoryFailed(
      f'--{field}={name}, called as ({", ".join(_ARGUMENTS[field])}), failed: '
      f'{type(error).__name__}: {error}.'
    ) from error


def check_made(
  config: config_lib.Config, agent: Any, optimizer: Any, loss: Any
) -> None:
  """Raises a ConfigError if a factory returned something else than its part."""
  for field, made, attributes, expected in (
    ('agent', agent, agent_lib.Agent._fields, 'an agents.agent.Agent'),
    ('optimizer', optimizer, ('init', 'update'), 'an optax optimizer'),
    ('loss', loss, ('__call__',), 'a function'),
  ):
    if not all(hasattr(made, name) for name in attributes):
      raise config_lib.ConfigError(
        f'--{field}={getattr(config, field)} returned '
        f'{made!r:.80}; expected {expected}.'
      )


def _named(
  config: config_lib.Config, field: str, default: Callable[..., Any]
) -> Callable[..., Any]:
  """Returns the factory that a field of `config` names; empty: `default`."""
  name = getattr(config, field)
  if not name:
    return default
  try:
    factory = factories.find(name)
  except factories.FactoryError as error:
    raise config_lib.ConfigError(
      f'--{field}: {error} A factory that cannot be imported must be given in '
      f'Python, as make_{field}=...'
    ) from error
  _check_takes(factory, field, name)
  return factory


def _check_takes(factory: Callable[..., Any], field: str, name: str) -> None:
  """Raises a ConfigError if a factory does not take the arguments it gets."""
  try:
    signature = inspect.signature(factory)
  except ValueError:  # Some built-in callables have none.
    return
  arguments = _ARGUMENTS[field]
  try:
    signature.bind(*arguments)
  except TypeError as error:
    raise config_lib.ConfigError(
      f'--{field}={name} is called as ({", ".join(arguments)}): {error}.'
    ) from error
