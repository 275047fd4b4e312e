"""The soak: what it samples, and what it says of the samples."""

import pathlib
import subprocess
import sys

import pytest

from experiments import soak

SLEEP = 'import time; time.sleep(60)'
DEAF = 'import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); ' + SLEEP


def test_a_growing_process_is_told_from_a_flat_one():
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


def test_a_process_is_watched_and_asked_to_stop():
  code = (
    'import signal, sys, time\n'
    'signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n'
    'hoard = []\n'
    'while True:\n'
    '  hoard.append(bytearray(2**20)); time.sleep(0.02)'
  )
  samples = soak.watch([sys.executable, '-c', code], seconds=1.0, every=0.05)
  assert len(samples) > 5
  assert samples[-1].resident_mib > samples[0].resident_mib + 5
  assert samples[-1].seconds <= 1.0


@pytest.mark.parametrize(
  'code,sentence',
  (
    ('pass', 'The process ended after'),
    (SLEEP, 'The process ended with status -15'),
    (DEAF, 'The process ended with status -9'),
  ),
)
def test_a_process_that_does_not_end_in_order_is_said(
  code, sentence, monkeypatch
):
  monkeypatch.setattr(soak, '_STOP_SECONDS', 1.0)
  with pytest.raises(RuntimeError, match=sentence):
    soak.watch([sys.executable, '-c', code], seconds=1.0, every=0.1)


def test_where_nothing_can_be_written_nothing_is_trained():
  result = subprocess.run(
    [sys.executable, '-m', 'experiments.soak', '--out=/proc/none/x', '--'],
    cwd=pathlib.Path(__file__).parent.parent,
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 2, result.stderr
  assert result.stderr == (
    'error: Cannot write to --out=/proc/none/x: No such file or directory.\n'
  )
