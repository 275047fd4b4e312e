"""Atomic checkpoints, written by Orbax and verified by a checksum.

A checkpoint is flat on disk: one array for the path of each leaf, and a SHA-256
checksum of all arrays. Reading therefore needs no template, and a truncated or
modified file is detected. `unflatten` restores the structure of a template.
"""

import hashlib
import pathlib
import textwrap
from typing import Any

from absl import logging
import jax
import numpy as np
import orbax.checkpoint as ocp

Flat = dict[str, np.ndarray]

_CHECKSUM = 'sha256'


class CheckpointError(Exception):
  """A checkpoint cannot be written or read; the message gives the cause."""


class Writer:
  """Writes checkpoints in the background and keeps the newest `keep`."""

  def __init__(self, directory: pathlib.Path, keep: int = 3):
    """Initializes the writer; the first save removes incomplete checkpoints."""
    self._manager = ocp.CheckpointManager(
      directory.absolute(),
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep, cleanup_tmp_directories=True
      ),
    )
    self._unchecked = False  # Whether errors of a save are still to check.

  @property
  def busy(self) -> bool:
    """Whether a checkpoint is being written; another one would have to wait."""
    return self._manager.is_saving_in_progress()

  def has(self, step: int) -> bool:
    """Returns whether there is a checkpoint of `step`."""
    return step in self._manager.all_steps()

  def save(self, step: int, tree: Any) -> None:
    """Starts writing `tree` as the checkpoint of `step`.

    The tree is copied before this method returns. An existing checkpoint of
    `step` is not overwritten.

    Raises:
      CheckpointError: if this or the previous checkpoint cannot be written.
    """
    if not self.has(step):
      flat = flatten(tree)
      flat[_CHECKSUM] = _checksum(flat)
      self._try(self._manager.save, step, args=ocp.args.StandardSave(flat))
      self._unchecked = True

  def check(self) -> None:
    """Raises a CheckpointError if a write in the background has failed."""
    if self._unchecked and not self.busy:
      self.wait()

  def wait(self) -> None:
    """Waits until all is written; raises a CheckpointError on failure."""
    # Orbax's own check for errors misses those of its last thread.
    self._unchecked = False
    self._try(self._manager.wait_until_finished)

  def close(self) -> None:
    """Waits as `wait` does, then stops the writer's threads."""
    try:
      self.wait()
    finally:
      self._manager.close()

  def _try(self, call: Any, *args: Any, **kwargs: Any) -> None:
    try:
      call(*args, **kwargs)
    except Exception as error:  # Orbax raises many types.
      reason = ' '.join(str(error).split())
      raise CheckpointError(
        f'Cannot write a checkpoint; existing ones are kept. Cause: {reason}'
      ) from error


def flatten(tree: Any) -> Flat:
  """Returns the leaves on the host by path, PRNG keys as integers.

  Leaves without elements are omitted, because Orbax does not accept them.
  """
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  raw = {_name(path): _raw(leaf) for path, leaf in leaves}
  flat = {name: np.asarray(x) for name, x in jax.device_get(raw).items()}
  return {name: x for name, x in flat.items() if x.size}


def unflatten(flat: Flat, template: Any, prefix: str = '') -> Any:
  """Returns the arrays below `prefix` in the structure of `template`.

  An axis of length 0 in the template matches any length. Python numbers and
  PRNG keys of the template are restored as such.

  Raises:
    CheckpointError: if an array is missing or has another shape.
  """

  def find(path, leaf):
    shape = np.shape(_raw(leaf))
    name = '/'.join(filter(None, (prefix, _name(path))))
    found = flat.get(name, leaf if 0 in shape else None)
    if found is None or not _fits(found.shape, shape):
      got = 'is missing' if found is None else f'has shape {found.shape}'
      raise CheckpointError(f'{name} {got}; expected shape {shape}.')
    if _is_key(leaf):
      return jax.random.wrap_key_data(found)
    return found.item() if isinstance(leaf, (int, float)) else found

  return jax.tree_util.tree_map_with_path(find, template)


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
    CheckpointError: if it is damaged.
  """
  path = directory.absolute() / str(step) / 'default'
  try:
    with ocp.StandardCheckpointer() as checkpointer:
      flat = dict(checkpointer.restore(path))
  except Exception as error:  # Orbax raises many types for damaged files.
    reason = textwrap.shorten(str(error), 80) or repr(error)
    raise CheckpointError(f'{path} cannot be read ({reason}).') from error
  checksum = flat.pop(_CHECKSUM, np.zeros(0))
  if not np.array_equal(checksum, _checksum(flat)):
    raise CheckpointError(f'{path} is damaged: its checksum does not match.')
  return flat


def read_newest(directory: pathlib.Path) -> tuple[int, Flat] | None:
  """Reads the newest undamaged checkpoint; None if there are no checkpoints.

  Logs an error for each damaged checkpoint and tries the previous one.

  Returns:
    (step, arrays).

  Raises:
    CheckpointError: if there are checkpoints and all are damaged.
  """
  existing = steps(directory)
  for step in reversed(existing):
    try:
      return step, read(directory, step)
    except CheckpointError as error:
      logging.error('DAMAGED CHECKPOINT: %s Trying the previous one.', error)
  if existing:
    raise CheckpointError(
      f'Every checkpoint in {directory} is damaged; none can be restored.'
    )
  return None


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
    digest.update(x.tobytes())
  return np.frombuffer(digest.digest(), np.uint8)
