"""Trains for a while and measures the growth of memory (the soak test).

python -m experiments.soak --seconds=1200 --out=soak -- --preset=catch

The arguments after -- are flags of `experiments.train`. The run is stopped with
SIGTERM. Samples go to `soak.csv` in --out, their summary to `soak.json`.
"""

from collections.abc import Sequence
import contextlib
import csv
import platform
import signal
import statistics
import subprocess
import sys
import time
from typing import Any
from typing import NamedTuple

from absl import flags
import psutil

from experiments import cli
from experiments import config as config_lib
from experiments.records import strict_json

_STOP_SECONDS = 120.0


class Sample(NamedTuple):
  """The training process at one moment."""

  seconds: float  # Since the start of the process.
  resident_mib: float
  num_threads: int
  num_files: int  # Open file descriptors.


def watch(command: Sequence[str], seconds: float, every: float) -> list[Sample]:
  """Runs `command`, samples its process, then stops it with SIGTERM.

  Args:
    command: the command line.
    seconds: how long it runs.
    every: seconds between two samples.

  Raises:
    RuntimeError: if the process ends earlier, or if its exit status after
      SIGTERM is not 143.
  """
  start = time.monotonic()
  process = subprocess.Popen(command)
  watched, samples = psutil.Process(process.pid), []
  try:
    while (now := time.monotonic() - start) < seconds:
      if process.poll() is not None:
        raise RuntimeError(f'The process ended after {now:.0f} s.')
      samples.append(_sample(watched, now))
      time.sleep(every)
  except psutil.NoSuchProcess:  # It ended after poll().
    raise RuntimeError(f'The process ended after {now:.0f} s.') from None
  finally:
    status = _stop(process)
  if status != 128 + signal.SIGTERM:
    raise RuntimeError(
      f'The process ended with status {status}, expected '
      f'{128 + signal.SIGTERM}.'
    )
  return samples


def _stop(process: subprocess.Popen) -> int:
  """Sends SIGTERM, and SIGKILL after a timeout; returns the exit status."""
  process.send_signal(signal.SIGTERM)
  try:
    return process.wait(_STOP_SECONDS)
  except subprocess.TimeoutExpired:
    process.kill()
    return process.wait()


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
  """Compares the medians of the second and the last quarter of the samples.

  The first quarter is left out, because compilation and the first checkpoints
  use additional memory.

  Returns:
    The summary, with memory in MiB and growth in MiB per hour.
  """
  quarter = len(samples) // 4
  early, late = samples[quarter : 2 * quarter], samples[-quarter:]

  def median(part, name):
    return statistics.median(getattr(sample, name) for sample in part)

  first, last = (median(part, 'resident_mib') for part in (early, late))
  hours = (median(late, 'seconds') - median(early, 'seconds')) / 3600
  return {
    'minutes': samples[-1].seconds / 60,
    'resident_mib_second_quarter': first,
    'resident_mib_last_quarter': last,
    'resident_mib_most': max(sample.resident_mib for sample in samples),
    'growth_mib_per_hour': (last - first) / hours,
    'num_threads_second_quarter': median(early, 'num_threads'),
    'num_threads_last_quarter': median(late, 'num_threads'),
    'num_files_second_quarter': median(early, 'num_files'),
    'num_files_last_quarter': median(late, 'num_files'),
  }


def main(arguments: list[str]) -> None:
  """Runs the soak test; `arguments` are flags of `experiments.train`."""
  out = config_lib.path(flags.FLAGS.out)
  if not flags.FLAGS.out:
    raise config_lib.ConfigError('--out is missing: give an output folder.')
  if flags.FLAGS.seconds < 8 * flags.FLAGS.every:
    raise config_lib.ConfigError(
      f'--seconds={flags.FLAGS.seconds:g} is too short: expected at least 8 '
      f'samples, one per --every={flags.FLAGS.every:g} seconds.'
    )
  command = [sys.executable, '-m', 'experiments.train', *arguments]
  try:
    out.mkdir(parents=True, exist_ok=True)
    samples = watch(command, flags.FLAGS.seconds, flags.FLAGS.every)
  except OSError as error:
    raise config_lib.ConfigError(
      f'Cannot write to --out={out}: {error.strerror}.'
    ) from error
  except RuntimeError as error:
    with contextlib.suppress(OSError):  # rmdir fails if it is not empty.
      out.rmdir()
    sys.exit(str(error))
  with open(out / 'soak.csv', 'w', newline='') as file:
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(Sample._fields)
    writer.writerows([f'{x:g}' for x in sample] for sample in samples)
  record = summary(samples) | {
    'command': ' '.join(['python -m experiments.train', *arguments]),
    'num_cores': psutil.cpu_count(),
    'python': platform.python_version(),
  }
  (out / 'soak.json').write_text(strict_json.dumps(record, indent=2) + '\n')
  print(strict_json.dumps(record, indent=2))


def _sample(process: psutil.Process, now: float) -> Sample:
  with process.oneshot():
    return Sample(
      now,
      process.memory_info().rss / 2**20,
      process.num_threads(),
      process.num_fds(),
    )


if __name__ == '__main__':
  flags.DEFINE_string('out', '', 'Output folder of soak.csv and soak.json.')
  flags.DEFINE_float(
    'seconds', 1200.0, 'Duration of the run in seconds.', lower_bound=1.0
  )
  flags.DEFINE_float(
    'every', 5.0, 'Seconds between two samples.', lower_bound=0.1
  )
  cli.run(main, takes_arguments=True)
