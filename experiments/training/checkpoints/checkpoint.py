"""Atomic checkpoints, written by Orbax and verified by a checksum.

A checkpoint is flat on disk: one array for the path of each leaf, and a SHA-256
checksum of all arrays. Reading therefore needs no template, and a truncated or
modified file is detected. `unflatten` restores the structure of a template.
"""

from collections.abc import Callable
import hashlib
import pathlib
import threading
from typing import Any

from absl import logging
import jax
import numpy as np

from experiments.training.checkpoints import orbax_files

Flat = orbax_files.Flat

_CHECKSUM = 'sha256'
_EMPTY = 'empty_arrays'  # The names of arrays without elements, as bytes.


class CheckpointError(Exception):
  """A checkpoint cannot be written or read; the message gives the cause."""


class DamagedError(CheckpointError):
  """The files of a checkpoint are incomplete or changed."""


class Writer:
  """Writes checkpoints in a background thread, one at a time.

  Keeps the newest `keep` checkpoints. With `keep_every=n` also keeps the first
  checkpoint of the run and every n-th after it, forever.

  Orbax's own background threads are not used: after an error they wait for
  minutes, and the interpreter waits for them.
  """

  def __init__(
    self, directory: pathlib.Path, keep: int = 3, keep_every: int = 0
  ):
    """Initializes the writer; the first save removes incomplete checkpoints."""
    self._directory = directory.absolute()
    self._keep, self._keep_every = keep, keep_every
    self._thread: threading.Thread | None = (
      None  # Until its errors are checked.
    )
    self._error: Exception | None = None  # Of the thread.
    self._is_clean = False

  @property
  def busy(self) -> bool:
    """Whether a checkpoint is being written; another one would have to wait."""
    return self._thread is not None and self._thread.is_alive()

  def has(self, step: int) -> bool:
    """Returns whether there is a checkpoint of `step`."""
    return step in steps(self._directory)

  def save(self, step: int, make_tree: Callable[[], Any]) -> None:
    """Starts writing the result of `make_tree` as the checkpoint of `step`.

    `make_tree` is called in the writer's thread and its leaves are not copied:
    nobody may change them. An existing checkpoint of `step` is not overwritten.

    Raises:
      CheckpointError: if the previous checkpoint could not be written.
    """
    self.wait()
    if not self.has(step):
      # A daemon: the process can end although the disk hangs.
      self._thread = threading.Thread(
        target=self._run, args=(step, make_tree), name='checkpoint', daemon=True
      )
      self._thread.start()

  def check(self) -> None:
    """Raises a CheckpointError if a write in the background has failed."""
    if not self.busy:
      self.wait()

  def wait(self) -> None:
    """Waits until all is written; raises a CheckpointError on failure."""
    if self._thread is not None:
      self._thread.join()
    self._thread, error, self._error = None, self._error, None
    if error is not None:
      raise CheckpointError(
        f'Cannot write a checkpoint to {self._directory}; existing ones are '
        f'kept. Cause: {orbax_files.reason(error)}.'
      ) from error

  def close(self) -> None:
    """Waits as `wait` does."""
    self.wait()

  def _run(self, step: int, make_tree: Callable[[], Any]) -> None:
    try:
      self._write(step, make_tree)
    except Exception as error:  # Orbax raises many types.
      self._error = error

  def _write(self, step: int, make_tree: Callable[[], Any]) -> None:
    self._directory.mkdir(parents=True, exist_ok=True)
    if not self._is_clean:
      orbax_files.remove_incomplete(self._directory)
      self._is_clean = True
    contents = _contents(make_tree())
    orbax_files.write(self._directory, step, contents, self._notes())
    for old in steps(self._directory)[: -self._keep]:
      if not orbax_files.read_notes(self._directory, old).get('is_kept'):
        orbax_files.remove(self._directory, old)

  def _notes(self) -> dict[str, Any]:
    """Returns the number of the next checkpoint, and whether to keep it."""
    existing = steps(self._directory)
    number = 0
    if existing:
      last = orbax_files.read_notes(self._directory, existing[-1])
      number = last.get('number', 0) + 1
    is_kept = self._keep_every > 0 and number % self._keep_every == 0
    return {'number': number, 'is_kept': is_kept}


def flatten(tree: Any) -> Flat:
  """Returns the leaves on the host by path, PRNG keys as integers.

  Leaves without elements are omitted, because Orbax does not accept them.
  """
  return {name: x for name, x in _on_host(tree).items() if x.size}


def unflatten(flat: Flat, template: Any, prefix: str = '') -> Any:
  """Returns the arrays below `prefix` in the structure of `template`.

  An axis of length 0 in the template matches any length. Python numbers and
  PRNG keys of the template are restored as such. An array that was empty when
  it was saved is restored as that of the template.

  Raises:
    CheckpointError: if an array is missing or has another shape.
  """
  empty = _names(flat[_EMPTY]) if _EMPTY in flat else None

  def find(path, leaf):
    shape = np.shape(_raw(leaf))
    name = '/'.join(filter(None, (prefix, _name(path))))
    may_be_absent = 0 in shape and (empty is None or name in empty)
    found = flat.get(name, leaf if may_be_absent else None)
    if found is None or not _fits(found.shape, shape):
      got = 'is missing' if found is None else f'has shape {found.shape}'
      raise CheckpointError(f'{name} {got}; expected shape {shape}.')
    if _is_key(leaf):
      return jax.random.wrap_key_data(found)
    return found.item() if isinstance(leaf, (int, float)) else found

  return jax.tree_util.tree_map_with_path(find, template)


def check_no_others(flat: Flat, tree: Any, prefix: str) -> None:
  """Raises a CheckpointError if an array below `prefix` is not in `tree`."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  known = {f'{prefix}/{_name(path)}' for path, _ in leaves}
  others = {name for name in flat if name.startswith(f'{prefix}/')} - known
  if others:
    raise CheckpointError(f'{min(others)} is not among the parameters here.')


def nested(flat: Flat, prefix: str) -> dict[str, Any]:
  """Returns the arrays below `prefix` as nested dicts."""
  tree: dict[str, Any] = {}
  for name, x in flat.items():
    if name.startswith(f'{prefix}/'):
      *parents, last = name.removeprefix(f'{prefix}/').split('/')
      branch = tree
      for parent in parents:
        branch = branch.setdefault(parent, {})
      branch[last] = x
  return tree


def steps(directory: pathlib.Path) -> list[int]:
  """Returns the steps of the checkpoints in `directory`, oldest first."""
  names = (path.name for path in directory.glob('*') if path.is_dir())
  return sorted(int(name) for name in names if name.isdecimal())


def read(directory: pathlib.Path, step: int) -> Flat:
  """Reads the checkpoint of `step`.

  Raises:
    DamagedError: if its files are incomplete or changed.
    CheckpointError: if it cannot be read for another reason.
  """
  path = directory.absolute() / str(step) / orbax_files.ITEM
  try:
    flat = orbax_files.read(directory, step)
  except Exception as error:  # Orbax raises many types.
    reason = orbax_files.reason(error)
    if orbax_files.is_damage(error):
      raise DamagedError(f'{path} cannot be read ({reason}).') from error
    raise CheckpointError(
      f'{path} cannot be read: {reason}. The checkpoint may be intact and is '
      'left as it is.'
    ) from error
  checksum = flat.pop(_CHECKSUM, np.zeros(0))
  if not np.array_equal(checksum, _checksum(flat)):
    raise DamagedError(f'{path} is damaged: its checksum does not match.')
  return flat


def read_newest(directory: pathlib.Path) -> tuple[int, Flat] | None:
  """Reads the newest undamaged checkpoint; None if there are no checkpoints.

  Logs an error for each damaged checkpoint and tries the previous one.

  Returns:
    (step, arrays).

  Raises:
    CheckpointError: if there are checkpoints and all are damaged, or if one
      cannot be read although it may be intact.
  """
  existing = steps(directory)
  for step in reversed(existing):
    try:
      return step, read(directory, step)
    except DamagedError as error:
      logging.error('DAMAGED CHECKPOINT: %s Trying the previous one.', error)
  if existing:
    raise CheckpointError(
      f'Every checkpoint in {directory} is damaged; none can be restored.'
    )
  return None


def _on_host(tree: Any) -> Flat:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  raw = {_name(path): _raw(leaf) for path, leaf in leaves}
  return {name: np.asarray(x) for name, x in jax.device_get(raw).items()}


def _contents(tree: Any) -> Flat:
  """Returns what a checkpoint of `tree` contains."""
  leaves = _on_host(tree)
  flat = {name: x for name, x in leaves.items() if x.size}
  # Otherwise nobody could tell an empty array from one that is missing.
  empty = '\n'.join(['', *sorted(leaves.keys() - flat.keys())])
  flat[_EMPTY] = np.frombuffer(f'{empty}\n'.encode(), np.uint8)
  return flat | {_CHECKSUM: _checksum(flat)}


def _names(text: np.ndarray) -> list[str]:
  return text.tobytes().decode().split('\n')


def _name(path: Any) -> str:
  return jax.tree_util.keystr(path, simple=True, separator='/')


def _is_key(leaf: Any) -> bool:
  dtype = getattr(leaf, 'dtype', None)
  return dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)


def _raw(leaf: Any) -> Any:
  return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _fits(shape: tuple[int, ...], template: tuple[int, ...]) -> bool:
  return len(shape) == len(template) and all(
    b in (0, a) for a, b in zip(shape, template, strict=True)
  )


def _checksum(flat: Flat) -> np.ndarray:
  """Returns the SHA-256 of names, dtypes, shapes and contents, `[32]` uint8."""
  digest = hashlib.sha256()
  for name in sorted(flat):
    x = np.ascontiguousarray(flat[name])
    digest.update(f'{name} {x.dtype.str} {np.shape(flat[name])}\n'.encode())
    digest.update(x.reshape(-1).view(np.uint8))  # Without a copy.
  return np.frombuffer(digest.digest(), np.uint8)
