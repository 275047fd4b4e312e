"""The hardware of this machine and the versions of the packages used."""

import contextlib
import importlib.metadata
import math
import os
import pathlib
import platform
from typing import Any

import jax
import psutil

_VERSION_1 = ('cpu.cfs_quota_us', 'cpu.cfs_period_us')
_PACKAGES = ('jax', 'jaxlib', 'dm-haiku', 'optax', 'envpool', 'numpy')


def num_cores() -> int:
  """Returns the number of CPU cores that this process may use.

  A container's quota of CPU time counts as cores, rounded up.
  """
  cores = os.cpu_count() or 1
  if hasattr(os, 'sched_getaffinity'):  # Not on macOS.
    cores = len(os.sched_getaffinity(0))
  return math.ceil(min(cores, cgroup_quota(pathlib.Path('/'))))


def cgroup_quota(root: pathlib.Path) -> float:
  """Returns the cores of CPU time that the cgroup allows, > 0; inf: no quota.

  The least quota of the process's cgroup and those above it, read from the
  kernel's files under `root`, in version 2 or 1.
  """
  quotas = [math.inf]
  for line in _read(root / 'proc/self/cgroup').splitlines():
    _, controllers, path = line.split(':', 2)
    if not controllers:  # Version 2.
      mount, names = 'sys/fs/cgroup', ('cpu.max',)
    elif 'cpu' in controllers.split(','):
      mount, names = 'sys/fs/cgroup/cpu', _VERSION_1
    else:
      continue
    # In a container the path may be the host's: then only the mount exists.
    inside = pathlib.PurePosixPath(path.lstrip('/'))
    for folder in (inside, *inside.parents):
      files = (_read(root / mount / folder / name) for name in names)
      quotas.append(_quota(' '.join(files).split()))
  return min(quotas)


def _read(path: pathlib.Path) -> str:
  """Returns the contents of a file, empty if it cannot be read."""
  with contextlib.suppress(OSError):
    return path.read_text()
  return ''


def _quota(words: list[str]) -> float:
  """Returns quota / period in cores; inf if there is none ('max', -1)."""
  with contextlib.suppress(ValueError):
    quota, period = map(int, words)
    if quota > 0 and period > 0:
      return quota / period
  return math.inf


def describe() -> dict[str, Any]:
  """Returns the hardware and package versions, memory in GiB."""
  devices = jax.local_devices()
  return {
    'cpu': _cpu(),
    'num_cores': num_cores(),
    'memory_gib': round(psutil.virtual_memory().total / 2**30, 1),
    'device': devices[0].device_kind,
    'num_devices': len(devices),
    'python': platform.python_version(),
  } | {name: _version(name) for name in _PACKAGES}


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:  # EnvPool is optional.
    return None


def _cpu() -> str:
  """Returns the name of the CPU model if the system reports one."""
  with contextlib.suppress(OSError, StopIteration):
    with open('/proc/cpuinfo') as file:
      line = next(line for line in file if line.startswith('model name'))
    return line.split(':')[1].strip()
  return platform.processor() or platform.machine()
