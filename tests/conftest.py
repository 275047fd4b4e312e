"""Gives the tests eight virtual CPU devices and a shared compilation cache.

The environment variables must be set before JAX is imported. Subprocesses of
the tests inherit them.
"""

import atexit
import os
import shutil
import tempfile
import threading
import time

import pytest

os.environ['XLA_FLAGS'] = (
  os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8'
)
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:  # Not inherited.
  _CACHE = tempfile.mkdtemp(prefix='impala-tests-')
  atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
  os.environ['JAX_COMPILATION_CACHE_DIR'] = _CACHE
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.1'
os.environ['JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES'] = '0'


@pytest.fixture
def one_device(monkeypatch):
  """Limits runs to one device."""
  from tests import running  # Imports jax.

  running.see_one_device(monkeypatch)


@pytest.fixture
def sleeping(monkeypatch):
  """Records which threads have come to a gate to sleep there."""
  from agents import waiting

  wait, arrived = waiting.Gate.wait, {}

  def recorded(gate, seconds):
    arrived[threading.current_thread()] = True
    wait(gate, seconds)

  class Sleeping:
    """The threads that have come to a gate."""

    def wait_for_threads(self, number):
      """Waits until so many threads have come to a gate."""
      deadline = time.monotonic() + 60
      while len(arrived) < number:
        assert time.monotonic() < deadline
        time.sleep(0.001)

  monkeypatch.setattr(waiting.Gate, 'wait', recorded)
  return Sleeping()
