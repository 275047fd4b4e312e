"""The hardware of this machine and the versions of the packages used."""

import contextlib
import importlib.metadata
import os
import platform
from typing import Any

import jax
import psutil

_PACKAGES = ('jax', 'jaxlib', 'dm-haiku', 'optax', 'envpool', 'numpy')


def num_cores() -> int:
  """Returns the number of CPU cores that this process may use."""
  if hasattr(os, 'sched_getaffinity'):  # Not on macOS.
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


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
