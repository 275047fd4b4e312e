"""Tests of the soak test: sampling a process, summarising the samples."""

import pathlib
import subprocess
import sys

import pytest

from experiments import soak

SLEEP = 'import time; time.sleep(60)'
IGNORE = (
  'import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); ' + SLEEP
)


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


def test_watch_samples_a_process_and_stops_it():
  code = (
    'import signal, sys, time\n'
    'signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n'
    'arrays = []\n'
    'while True:\n'
    '  arrays.append(bytearray(2**20)); time.sleep(0.02)'
  )
  samples = soak.watch([sys.executable, '-c', code], seconds=2.0, every=0.05)
  assert len(samples) > 5
  assert samples[-1].resident_mib > samples[0].resident_mib + 5
  assert samples[-1].seconds <= 2.0


@pytest.mark.parametrize(
  'code,message',
  (
    ('pass', 'ended after'),
    (SLEEP, 'status -15'),
    (IGNORE, 'status -9'),
  ),
)
def test_watch_raises_if_a_process_fails_or_ignores_sigterm(
  code, message, monkeypatch
):
  monkeypatch.setattr(soak, '_STOP_SECONDS', 1.0)
  with pytest.raises(RuntimeError, match=message):
    soak.watch([sys.executable, '-c', code], seconds=2.0, every=0.1)


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
