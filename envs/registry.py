"""The registry of environments: makes a batch from an environment id."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import difflib
import math
from typing import Any

from envs import atari
from envs import catch
from envs import delayed_catch
from envs import environment
from envs import envpool_env
from envs import factories
from envs import vectorized

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
  factories.FactoryError,
  environment.RewardError,
)


# Arguments of factories and tasks that are ours to set.
_RESERVED = frozenset(('seed', 'num_envs', 'task_id', 'env_type', 'batch_size'))


def make(
  env_id: str,
  num_envs: int,
  seed: int,
  *,
  factory: Callable[..., Any] | None = None,
  env_kwargs: Mapping[str, Any] | None = None,
  env_processes: bool = False,
  renders: bool = False,
  records: bool = False,
  num_threads: int = 0,
  timeout_seconds: float = math.inf,
  **settings: Any,
) -> environment.Environment:
  """Makes a batch of `num_envs` environments.

  Args:
    env_id: 'Catch' or 'DelayedCatch'; the id of an EnvPool task, where Atari
      games get the paper's preprocessing; or 'module:factory' for a custom
      environment: see `vectorized`.
    num_envs: the size of the batch.
    seed: seed of all randomness in the environments.
    factory: makes a custom environment; `env_id` then is its name only.
    env_kwargs: the user's arguments of the factory, or options of the task.
    env_processes: whether each custom environment runs in its own process.
    renders: whether `render` will be called.
    records: whether custom environments keep checksums of what they gave.
    num_threads: threads that step an EnvPool task; 0: as many as cores.
    timeout_seconds: deadline for custom environments: see `vectorized`.
    **settings: settings of `atari.Atari` for Atari games, EnvPool's options for
      its other tasks; they override `env_kwargs`. Built-in and custom
      environments have none.

  Raises:
    UnknownEnvironmentError: if no environment has this id; names similar ids.
    UnsupportedSettingError: if an environment does not have a setting.
    FactoryError: if 'module:factory' does not make a supported environment.
    EnvPoolMissingError: if `env_id` may be EnvPool's, which is not installed.
    UnsupportedTaskError: if EnvPool cannot make the task with these settings,
      or the task has several players.
  """
  env_kwargs = dict(env_kwargs or {})
  custom = factory is not None or factories.is_named(env_id)
  _check_settings(env_id, custom, env_kwargs, settings, env_processes)
  if custom:
    return vectorized.Vectorized(
      env_id,
      num_envs,
      seed,
      factory=factory,
      kwargs=env_kwargs,
      renders=renders,
      processes=env_processes,
      records=records,
      timeout_seconds=timeout_seconds,
    )
  if env_id in _BUILT_IN:
    return _BUILT_IN[env_id](num_envs, seed)
  settings = env_kwargs | settings
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
    settings.setdefault('num_threads', min(num_threads, num_envs))
  make_env = atari.Atari if atari.is_atari(env_id) else envpool_env.EnvPool
  return make_env(env_id, num_envs, seed, **settings)


def _check_settings(
  env_id: str,
  custom: bool,
  env_kwargs: Mapping[str, Any],
  settings: Mapping[str, Any],
  env_processes: bool,
) -> None:
  """Raises an UnsupportedSettingError for settings that it does not have."""
  reserved = _RESERVED & env_kwargs.keys()
  if reserved:
    raise UnsupportedSettingError(
      f'--env_kwargs cannot set {", ".join(sorted(reserved))}: that is set for '
      'each environment.'
    )
  if env_processes and not custom:
    raise UnsupportedSettingError(
      f'--env_processes is for module:factory environments; {env_id} steps its '
      'environments together already.'
    )
  if env_id in _BUILT_IN and not custom:
    settings = env_kwargs | settings
  if settings and (custom or env_id in _BUILT_IN):
    raise UnsupportedSettingError(
      f'{env_id} has no {", ".join(settings)}: it takes no settings.'
    )


def is_atari(env_id: str) -> bool:
  """Returns whether `env_id` is an Atari game, with no-op starts and lives.

  Raises:
    EnvPoolMissingError: if `env_id` may be EnvPool's, which is not installed.
  """
  if env_id in _BUILT_IN or factories.is_named(env_id):
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
