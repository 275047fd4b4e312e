"""The registry of environments: makes a batch from an environment id."""

from collections.abc import Callable
from collections.abc import Iterable
import difflib
from typing import Any

from envs import atari
from envs import batched
from envs import catch
from envs import delayed_catch
from envs import environment
from envs import envpool_env

# Called with (num_envs, seed).
_BUILT_IN = {'Catch': catch.Catch, 'DelayedCatch': delayed_catch.DelayedCatch}


class UnknownEnvironmentError(ValueError):
  """No environment has this id."""


class UnsupportedSettingError(ValueError):
  """The environment does not have this setting."""


# Errors that `make` raises.
ERRORS = (
  UnknownEnvironmentError,
  UnsupportedSettingError,
  envpool_env.EnvPoolMissingError,
  envpool_env.UnsupportedTaskError,
  batched.FactoryError,
)


def make(
  env_id: str,
  num_envs: int,
  seed: int,
  *,
  renders: bool = False,
  num_threads: int = 0,
  factory: Callable[..., Any] | None = None,
  **settings: Any,
) -> environment.Environment:
  """Makes a batch of `num_envs` environments.

  Args:
    env_id: 'Catch' or 'DelayedCatch'; the id of an EnvPool task, where Atari
      games get the paper's preprocessing; or 'module:factory' for a custom
      environment: see `batched`.
    num_envs: the size of the batch.
    seed: seed of all randomness in the environments.
    renders: whether `render` will be called.
    num_threads: threads that step an EnvPool task; 0: as many as cores.
    factory: makes a custom environment; `env_id` is then only its name.
    **settings: settings of `atari.Atari` for Atari games, EnvPool's options for
      its other tasks. Built-in and custom environments have no settings.

  Raises:
    UnknownEnvironmentError: if no environment has this id; names similar ids.
    UnsupportedSettingError: if an environment without settings gets settings.
    FactoryError: if 'module:factory' does not make a supported environment.
    EnvPoolMissingError: if `env_id` may be EnvPool's, which is not installed.
    UnsupportedTaskError: if EnvPool cannot make the task with these settings,
      or the task has several players.
  """
  is_named = batched.is_named(env_id)
  if settings and (is_named or env_id in _BUILT_IN):
    raise UnsupportedSettingError(
      f'{env_id} has no {", ".join(settings)}: it takes no settings.'
    )
  if is_named:
    return batched.Batched(env_id, num_envs, seed, renders)
  if env_id in _BUILT_IN:
    return _BUILT_IN[env_id](num_envs, seed)
  try:
    known = envpool_env.import_envpool().list_all_envs()
  except envpool_env.EnvPoolMissingError:
    if difflib.get_close_matches(env_id, _BUILT_IN, cutoff=0.7):
      raise UnknownEnvironmentError(_unknown(env_id, _BUILT_IN)) from None
    raise
  if env_id not in known:
    raise UnknownEnvironmentError(_unknown(env_id, [*_BUILT_IN, *known]))
  if renders:
    settings['render_mode'] = 'rgb_array'
  if num_threads:  # EnvPool rejects more threads than environments.
    settings['num_threads'] = min(num_threads, num_envs)
  make_env = atari.Atari if atari.is_atari(env_id) else envpool_env.EnvPool
  return make_env(env_id, num_envs, seed, **settings)


def is_atari(env_id: str) -> bool:
  """Returns whether `env_id` is an Atari game, with no-op starts and lives.

  Raises:
    EnvPoolMissingError: if `env_id` may be EnvPool's, which is not installed.
  """
  if env_id in _BUILT_IN or batched.is_named(env_id):
    return False
  return atari.is_atari(env_id)


def _unknown(env_id: str, known: Iterable[str]) -> str:
  """Returns an error message with similar ids; the case is ignored."""
  by_lower = {name.lower(): name for name in known}
  near = difflib.get_close_matches(env_id.lower(), by_lower, n=3, cutoff=0.5)
  if not near:
    return f'Unknown environment {env_id!r}.'
  names = ', '.join(by_lower[name] for name in near)
  return f'Unknown environment {env_id!r}. Did you mean {names}?'
