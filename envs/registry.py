"""From an environment's name to a batch of it."""

from collections.abc import Iterable
import difflib

from envs import atari
from envs import catch
from envs import environment
from envs import envpool_env

_OURS = {'Catch': catch.Catch}  # Made by (num_envs, seed).


class UnknownEnvironmentError(ValueError):
  """No environment has that name."""


def make(env_id: str, num_envs: int, seed: int) -> environment.Environment:
  """A batch of `num_envs` environments.

  Args:
    env_id: 'Catch', or the id of an EnvPool task; Atari games get the paper's
      preprocessing.
    num_envs: the size of the batch.
    seed: decides everything random in them.

  Raises:
    UnknownEnvironmentError: names the nearest ids.
    EnvPoolMissingError: if only EnvPool could know, and it is not installed.
    UnsupportedTaskError: if EnvPool cannot make the task, or it has players.
  """
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
  if atari.is_atari(env_id):
    return atari.Atari(env_id, num_envs, seed)
  return envpool_env.EnvPool(env_id, num_envs, seed)


def _unknown(env_id: str, known: Iterable[str]) -> str:
  """A sentence, with near matches whatever the case of the letters."""
  by_lower = {name.lower(): name for name in known}
  near = difflib.get_close_matches(env_id.lower(), by_lower, n=3, cutoff=0.5)
  if not near:
    return f'Unknown environment {env_id!r}.'
  names = ', '.join(by_lower[name] for name in near)
  return f'Unknown environment {env_id!r}. Did you mean {names}?'
