"""Checkpoints by Orbax: whole or not at all, and known by their checksum.

A checkpoint is flat on disk, one array for each leaf's path, next to a SHA-256
of all of them. Reading needs no template, and a file that was cut or changed
is noticed whichever it is. A template gives the arrays their places again.
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
  """A checkpoint cannot be written, or none can be read; says why."""


class Writer:
  """Writes checkpoints in the background; the newest `keep` stay."""

  def __init__(self, directory: pathlib.Path, keep: int = 3):
    """What a killed writer left half written is removed by the first save."""
    self._manager = ocp.CheckpointManager(
      directory.absolute(),
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep, cleanup_tmp_directories=True
      ),
    )
    self._unchecked = False  # Whether a save may have failed, unnoticed yet.

  @property
  def busy(self) -> bool:
    """Whether a checkpoint is being written: another would have to wait."""
    return self._manager.is_saving_in_progress()

  def has(self, step: int) -> bool:
    """Whether there is a checkpoint of `step`."""
    return step in self._manager.all_steps()

  def save(self, step: int, tree: Any) -> None:
    """Begins to write `tree`, copied before this returns, as of `step`.

    A step that is there already is left alone.

    Raises:
      CheckpointError: if this, or the checkpoint before, cannot be written.
    """
    if not self.has(step):
      flat = flatten(tree)
      flat[_CHECKSUM] = _checksum(flat)
      self._try(self._manager.save, step, args=ocp.args.StandardSave(flat))
      self._unchecked = True

  def check(self) -> None:
    """Raises a CheckpointError if writing has failed in the meantime."""
    if self._unchecked and not self.busy:
      self.wait()

  def wait(self) -> None:
    """Waits until all is written; raises as `check` does."""
    # Orbax's own check says nothing of an error in its last thread.
    self._unchecked = False
    self._try(self._manager.wait_until_finished)

  def close(self) -> None:
    """Waits likewise, and ends the writer's threads."""
    try:
      self.wait()
    finally:
      self._manager.close()

  def _try(self, call: Any, *args: Any, **kwargs: Any) -> None:
    try:
      call(*args, **kwargs)
    except Exception as error:  # Orbax and its writer raise all kinds.
      reason = ' '.join(str(error).split())
      raise CheckpointError(
        f'Cannot write a checkpoint: {reason} Those before it are kept.'
      ) from error


def flatten(tree: Any) -> Flat:
  """Every leaf on the host by its path; PRNG keys as numbers.

  Leaves without elements, which Orbax does not take, are left out.
  """
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  raw = {_name(path): _raw(leaf) for path, leaf in leaves}
  flat = {name: np.asarray(x) for name, x in jax.device_get(raw).items()}
  return {name: x for name, x in flat.items() if x.size}


def unflatten(flat: Flat, template: Any, prefix: str = '') -> Any:
  """The arrays below `prefix` in the structure of `template`.

  An axis of length 0 in the template may have any length; a Python number in it
  is one again.

  Raises:
    CheckpointError: if an array is missing, or has another shape.
  """

  def find(path, leaf):
    shape = np.shape(_raw(leaf))
    name = '/'.join(filter(None, (prefix, _name(path))))
    found = flat.get(name, leaf if 0 in shape else None)
    if found is None or not _fits(found.shape, shape):
      got = 'absent' if found is None else f'of shape {found.shape}'
      raise CheckpointError(f'{name} is {got}; it should be of shape {shape}.')
    if _is_key(leaf):
      return jax.random.wrap_key_data(found)
    return found.item() if isinstance(leaf, (int, float)) else found

  return jax.tree_util.tree_map_with_path(find, template)


def nested(flat: Flat, prefix: str) -> dict[str, Any]:
  """The arrays below `prefix` as dicts in dicts."""
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
  """The steps of the checkpoints in `directory`, oldest first."""
  names = (path.name for path in directory.glob('*') if path.is_dir())
  return sorted(int(name) for name in names if name.isdecimal())


def read(directory: pathlib.Path, step: int) -> Flat:
  """The checkpoint of `step`.

  Raises:
    CheckpointError: if it is damaged.
  """
  path = directory.absolute() / str(step) / 'default'
  try:
    with ocp.StandardCheckpointer() as checkpointer:
      flat = dict(checkpointer.restore(path))
  except Exception as error:  # Whatever a damaged file leads Orbax to.
    reason = textwrap.shorten(str(error), 80) or repr(error)
    raise CheckpointError(f'{path} cannot be read ({reason}).') from error
  checksum = flat.pop(_CHECKSUM, np.zeros(0))
  if not np.array_equal(checksum, _checksum(flat)):
    raise CheckpointError(f'{path} is damaged: its checksum is not its own.')
  return flat


def read_newest(directory: pathlib.Path) -> tuple[int, Flat] | None:
  """(step, arrays) of the newest checkpoint that is whole; None without any.

  A damaged one is told of, loudly, and the one before is taken.

  Raises:
    CheckpointError: if there are checkpoints, and all are damaged.
  """
  there = steps(directory)
  for step in reversed(there):
    try:
      return step, read(directory, step)
    except CheckpointError as error:
      logging.error('DAMAGED CHECKPOINT: %s Trying the one before.', error)
  if there:
    raise CheckpointError(
      f'Every checkpoint in {directory} is damaged: the run cannot go on.'
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
  """SHA-256 of names, types, shapes and contents, `[32]` bytes."""
  digest = hashlib.sha256()
  for name in sorted(flat):
    x = np.ascontiguousarray(flat[name])
    digest.update(f'{name} {x.dtype.str} {np.shape(flat[name])}\n'.encode())
    digest.update(x.tobytes())
  return np.frombuffer(digest.digest(), np.uint8)
