"""From an environment's name to a batch of it."""

from collections.abc import Iterable
import difflib
from typing import Any

from envs import atari
from envs import batched
from envs import catch
from envs import delayed_catch
from envs import environment
from envs import envpool_env

# Made by (num_envs, seed).
_OURS = {'Catch': catch.Catch, 'DelayedCatch': delayed_catch.DelayedCatch}


class UnknownEnvironmentError(ValueError):
  """No environment has that name."""


class UnsupportedSettingError(ValueError):
  """The environment has no such setting."""


# What `make` may say of a request that cannot be met.
REFUSALS = (
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
  **settings: Any,
) -> environment.Environment:
  """A batch of `num_envs` environments.

  Args:
    env_id: 'Catch' or 'DelayedCatch'; the id of an EnvPool task, where Atari
      games get the paper's preprocessing; or 'module:factory' for one's own:
      see `batched`.
    num_envs: the size of the batch.
    seed: decides everything random in them.
    renders: whether `render` will be called.
    num_threads: that step an EnvPool task; 0: as many as there are cores.
    **settings: `atari.Atari`'s for a game, EnvPool's own for its other tasks;
      ours and one's own have none.

  Raises:
    UnknownEnvironmentError: names the nearest ids.
    UnsupportedSettingError: if an environment without settings is given one.
    FactoryError: if 'module:factory' makes no environment.
    EnvPoolMissingError: if only EnvPool could know, and it is not installed.
    UnsupportedTaskError: if EnvPool cannot make the task, with these settings,
      or it has players.
  """
  is_named = batched.is_named(env_id)
  if settings and (is_named or env_id in _OURS):
    raise UnsupportedSettingError(f'{env_id} has no {", ".join(settings)}.')
  if is_named:
    return batched.Batched(env_id, num_envs, seed, renders)
  if env_id in _OURS:
    return _OURS[env_id](num_envs, seed)
  try:
    known = envpool_env.import_envpool().list_all_envs()
  except envpool_env.EnvPoolMissingError:
    if difflib.get_close_matches(env_id, _OURS, cutoff=0.7):
      raise UnknownEnvironmentError(_unknown(env_id, _OURS)) from None
    raise
  if env_id not in known:
    raise UnknownEnvironmentError(_unknown(env_id, [*_OURS, *known]))
  if renders:
    settings['render_mode'] = 'rgb_array'
  if num_threads:  # More than environments EnvPool refuses.
    settings['num_threads'] = min(num_threads, num_envs)
  make_env = atari.Atari if atari.is_atari(env_id) else envpool_env.EnvPool
  return make_env(env_id, num_envs, seed, **settings)


def is_atari(env_id: str) -> bool:
  """Whether it is an Atari game: they alone begin with no-ops and have lives.

  Raises:
    EnvPoolMissingError: if only EnvPool could know, and it is not installed.
  """
  if env_id in _OURS or batched.is_named(env_id):
    return False
  return atari.is_atari(env_id)


def _unknown(env_id: str, known: Iterable[str]) -> str:
  """A sentence, with near matches whatever the case of the letters."""
  by_lower = {name.lower(): name for name in known}
  near = difflib.get_close_matches(env_id.lower(), by_lower, n=3, cutoff=0.5)
  if not near:
    return f'Unknown environment {env_id!r}.'
  names = ', '.join(by_lower[name] for name in near)
  return f'Unknown environment {env_id!r}. Did you mean {names}?'
