"""Tests of checkpoints: atomic writes, and detection of damaged files."""

import errno
import resource
import threading
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.training.checkpoints import checkpoint
from experiments.training.checkpoints import checkpointing
from tests import comparing


class Tree(NamedTuple):
  params: dict
  key: jax.Array
  returns: np.ndarray
  count: int
  seconds: float
  nothing: None


def make_tree(count=3):
  return Tree(
    params={'torso/linear': {'w': jnp.arange(6.0).reshape(2, 3) + count}},
    key=jax.random.key(count),
    returns=np.array([], np.float64),
    count=count,
    seconds=0.1,
    nothing=None,
  )


def save(directory, *counts, keep=3):
  writer = checkpoint.Writer(directory, keep)
  for count in counts:
    writer.save(count, lambda count=count: make_tree(count))
  writer.close()
  return directory


def assert_same(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    assert type(x) is type(y) or not isinstance(y, (int, float))
    if jnp.issubdtype(getattr(x, 'dtype', int), jax.dtypes.prng_key):
      x, y = jax.random.key_data(x), jax.random.key_data(y)
    np.testing.assert_array_equal(x, y)
    assert np.asarray(x).dtype == np.asarray(y).dtype


def test_a_checkpoint_is_restored_bit_identically(tmp_path):
  step, flat = checkpoint.read_newest(save(tmp_path, 3, 7))
  assert step == 7
  assert_same(checkpoint.unflatten(flat, make_tree(0)), make_tree(7))
  part = checkpoint.unflatten(flat, make_tree(0).params, 'params')
  assert_same(part, jax.device_get(make_tree(7).params))
  nested = checkpoint.nested(flat, 'params')
  assert nested.keys() == {'torso'} and nested['torso'].keys() == {'linear'}


def test_a_save_packs_in_the_thread_of_the_writer(tmp_path):
  writer, release, packed_in = (
    checkpoint.Writer(tmp_path),
    threading.Event(),
    [],
  )

  def make_slowly():
    assert release.wait(60)
    packed_in.append(threading.current_thread())
    return make_tree(1)

  writer.save(1, make_slowly)
  assert writer.busy and not writer.has(1)
  writer.check()  # The caller continues.
  release.set()
  writer.close()
  assert packed_in != [threading.current_thread()]
  assert_same(
    checkpoint.unflatten(checkpoint.read(tmp_path, 1), make_tree(0)),
    make_tree(1),
  )


@pytest.mark.parametrize(
  'name', ('a [b] c', '*', 'a?b', 'back\\slash', '{x}', 'zür%20')
)
def test_any_path_can_be_written_and_read(name, tmp_path):
  directory = save(tmp_path / name / 'checkpoints', 1, 2, 3, 4)
  step, flat = checkpoint.read_newest(directory)
  assert step == 4 and flat['count'] == 4
  assert [path.name for path in tmp_path.iterdir()] == [name]
  assert checkpoint.steps(directory) == [2, 3, 4]


def test_every_nth_checkpoint_is_kept_also_after_a_resume(tmp_path):
  for counts in (range(5), range(5, 11)):
    writer = checkpoint.Writer(tmp_path, keep_every=4)
    for count in counts:
      writer.save(10 * count, lambda: make_tree(1))
    writer.close()
  assert checkpoint.steps(tmp_path) == [0, 40, 80, 90, 100]
  save(tmp_path, 200, 201, 202)  # What was kept stays without the flag.
  assert checkpoint.steps(tmp_path) == [0, 40, 80, 200, 201, 202]


def raise_from_orbax(monkeypatch, error):
  def fail(self, path):
    raise error

  monkeypatch.setattr(
    checkpoint.orbax_files.ocp.StandardCheckpointer, 'restore', fail
  )


@pytest.mark.parametrize(
  'error',
  (
    PermissionError(errno.EACCES, 'Permission denied'),
    OSError(errno.EIO, 'Input/output error'),
    MemoryError(),
    RuntimeError('Unable to initialize backend cuda'),
    ValueError("PERMISSION_DENIED: Error opening: x [os_error_code='13']"),
    ValueError('RESOURCE_EXHAUSTED: Error reading: no memory'),
  ),
  ids=repr,
)
def test_a_reason_outside_the_files_is_not_called_damage(
  error, tmp_path, monkeypatch, caplog
):
  save(tmp_path / 'checkpoints', 1, 2)
  raise_from_orbax(monkeypatch, error)
  with pytest.raises(checkpoint.CheckpointError, match='left as it is'):
    checkpointing.newest(tmp_path / 'checkpoints')
  assert 'DAMAGED' not in caplog.text
  assert checkpoint.steps(tmp_path / 'checkpoints') == [1, 2]


def test_a_file_that_cannot_be_opened_is_not_called_damage(tmp_path):
  save(tmp_path, 1, 2)
  path = tmp_path / '2' / 'default' / '_METADATA'
  path.unlink()
  path.symlink_to(path)  # Too many levels of links: nobody may open it.
  with pytest.raises(checkpoint.CheckpointError, match='levels of symbolic'):
    checkpoint.read_newest(tmp_path)


def test_an_array_that_is_missing_is_not_taken_for_an_empty_one(tmp_path):
  flat = checkpoint.read(save(tmp_path, 1), 1)
  template = make_tree(0)
  assert not checkpoint.unflatten(flat, template).returns.size
  renamed = {'earnings': template.returns}
  with pytest.raises(checkpoint.CheckpointError, match='earnings is missing'):
    checkpoint.unflatten(flat, renamed)


def test_the_newest_three_checkpoints_are_kept(tmp_path):
  assert checkpoint.steps(save(tmp_path, 1, 2, 3, 4, 5)) == [3, 4, 5]
  assert checkpoint.steps(tmp_path / 'missing') == []
  assert checkpoint.read_newest(tmp_path / 'missing') is None


def test_an_existing_step_is_not_overwritten(tmp_path):
  save(tmp_path, 1)
  writer = checkpoint.Writer(tmp_path)
  writer.save(1, lambda: make_tree(9))
  writer.close()
  assert checkpoint.read(tmp_path, 1)['count'] == 1


def test_errors_name_the_array_that_does_not_fit(tmp_path):
  flat = checkpoint.read(save(tmp_path, 1), 1)
  with pytest.raises(checkpoint.CheckpointError, match='extra'):
    checkpoint.unflatten(flat, {'extra': 0})
  params = {'torso/linear': {'w': np.zeros([3, 2])}}
  with pytest.raises(checkpoint.CheckpointError, match=r'w.*\(2, 3\)'):
    checkpoint.unflatten(flat, params, 'params')


def files(directory):
  paths = (path for path in directory.rglob('*') if path.is_file())
  return sorted(path for path in paths if path.stat().st_size)


@pytest.mark.parametrize('damage', (comparing.cut_short, comparing.flip_a_bit))
def test_damage_to_any_file_is_detected_or_harmless(damage, tmp_path, caplog):
  directory = save(tmp_path / 'whole', 1, 2)
  detected = 0
  paths = files(directory / '2')
  for path in paths:
    contents = path.read_bytes()
    caplog.clear()
    damage(path)
    step, flat = checkpoint.read_newest(directory)
    path.write_bytes(contents)
    assert_same(checkpoint.unflatten(flat, make_tree(0)), make_tree(step))
    assert (step == 1) == ('DAMAGED' in caplog.text), path
    detected += step == 1
  assert len(paths) > 3 and detected >= 2


def test_a_changed_value_that_orbax_accepts_is_detected(tmp_path, monkeypatch):
  save(tmp_path, 1)
  orbax = checkpoint.orbax_files.ocp
  restore = orbax.StandardCheckpointer.restore

  def restore_and_change(self, path):
    flat = restore(self, path)
    flat['params/torso/linear/w'][0, 0] += 1e-6
    return flat

  monkeypatch.setattr(orbax.StandardCheckpointer, 'restore', restore_and_change)
  with pytest.raises(checkpoint.CheckpointError, match='checksum'):
    checkpoint.read(tmp_path, 1)


def test_read_newest_raises_if_all_checkpoints_are_damaged(tmp_path):
  for path in files(save(tmp_path, 1, 2)):
    path.write_bytes(b'')
  with pytest.raises(checkpoint.CheckpointError, match='Every checkpoint'):
    checkpoint.read_newest(tmp_path)


@pytest.fixture
def small_disk():
  """Limits files to 64 KiB: longer writes fail, as on a full disk."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
  yield
  resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_raises_and_keeps_the_previous_checkpoint(
  tmp_path, small_disk
):
  writer = checkpoint.Writer(tmp_path)
  writer.save(1, lambda: make_tree(1))
  noise = np.random.default_rng(0).random(10**5)  # Does not compress.
  with pytest.raises(checkpoint.CheckpointError, match='Cannot write'):
    writer.save(2, lambda: {'noise': noise})
    writer.close()
  assert checkpoint.read_newest(tmp_path)[0] == 1


def test_incomplete_checkpoints_are_ignored_and_removed(tmp_path):
  save(tmp_path, 1)
  incomplete = tmp_path / '2.orbax-checkpoint-tmp'
  incomplete.mkdir()
  assert checkpoint.read_newest(tmp_path)[0] == 1
  save(tmp_path, 3)
  assert not incomplete.exists()
  assert checkpoint.steps(tmp_path) == [1, 3]


def test_the_checksum_covers_names_dtypes_and_shapes():
  x = np.arange(6, dtype=np.int32)
  checksums = {
    checkpoint._checksum(flat).tobytes()
    for flat in (
      {'a': x},
      {'b': x},
      {'a': x.reshape(2, 3)},
      {'a': x.view(np.float32)},
      {'a': x + 1},
      {'a': x[:3], 'b': x[3:]},
    )
  }
  assert len(checksums) == 6


def test_arrays_that_the_template_lacks_are_named():
  flat = {'a/x': np.ones(2), 'a/y/z': np.ones(3), 'b': np.ones(1)}
  checkpoint.check_no_others(flat, {'x': 0.0, 'y': {'z': 0.0}}, 'a')
  with pytest.raises(checkpoint.CheckpointError, match='a/y/z is not'):
    checkpoint.check_no_others(flat, {'x': 0.0}, 'a')
