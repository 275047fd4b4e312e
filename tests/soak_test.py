"""Tests of the soak test: sampling a process, summarizing the samples."""

import pathlib
import subprocess
import sys
import time
import types

import pytest

from experiments import soak


def test_the_summary_measures_the_growth_of_memory():
  def samples(growth):
    return [
      soak.Sample(36.0 * i, 500.0 + growth * i, 30, 8) for i in range(100)
    ]

  flat, growing = (soak.summary(samples(growth)) for growth in (0.0, 1.0))
  assert flat['growth_mib_per_hour'] == 0.0
  assert growing['growth_mib_per_hour'] == pytest.approx(100.0)
  assert growing['resident_mib_second_quarter'] == 537.0
  assert growing['resident_mib_last_quarter'] == 587.0
  assert growing['resident_mib_most'] == 599.0
  assert flat['minutes'] == pytest.approx(59.4)


def watch(code, tmp_path, monkeypatch, num_samples=20):
  """Runs `soak.watch` with a clock that starts once the process is ready.

  READY in the code stands for the statement that signals it.
  """
  ready, naps = tmp_path / 'ready', []

  def sleep(seconds):
    deadline = time.monotonic() + 60
    while not ready.exists() and time.monotonic() < deadline:
      time.sleep(0.01)
    time.sleep(0.02)
    naps.append(seconds)

  clock = types.SimpleNamespace(monotonic=lambda: sum(naps), sleep=sleep)
  monkeypatch.setattr(soak, 'time', clock)
  code = f'import pathlib\n{code}'.replace(
    'READY', f'pathlib.Path({str(ready)!r}).touch()'
  )
  return soak.watch([sys.executable, '-c', code], num_samples, every=1.0)


def test_watch_samples_a_process_and_stops_it(tmp_path, monkeypatch):
  code = (
    'import signal, sys, time\n'
    'signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n'
    'READY\n'
    'time.sleep(600)'
  )
  samples = watch(code, tmp_path, monkeypatch)
  assert [sample.seconds for sample in samples] == list(range(20))
  assert all(sample.resident_mib > 1 for sample in samples[1:])  # Ready.
  assert samples[-1].num_threads == 1


@pytest.mark.parametrize(
  'code,num_samples,message',
  (
    ('READY', 1000, 'ended after'),
    ('import time; READY; time.sleep(600)', 3, 'status -15'),
    (
      'import signal, time\n'
      'signal.signal(signal.SIGTERM, signal.SIG_IGN); READY; time.sleep(600)',
      3,
      'status -9',
    ),
  ),
)
def test_watch_raises_if_a_process_fails_or_ignores_sigterm(
  code, num_samples, message, tmp_path, monkeypatch
):
  if 'SIG_IGN' in code:
    monkeypatch.setattr(soak, '_STOP_SECONDS', 1.0)
  with pytest.raises(RuntimeError, match=message):
    watch(code, tmp_path, monkeypatch, num_samples)


def test_an_unwritable_output_folder_is_rejected_before_training():
  result = subprocess.run(
    [sys.executable, '-m', 'experiments.soak', '--out=/proc/none/x', '--'],
    cwd=pathlib.Path(__file__).parent.parent,
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 2, result.stderr
  (line,) = result.stderr.splitlines()
  assert '--out=/proc/none/x' in line
