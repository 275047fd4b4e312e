"""Interleaved timing of calls in one process: medians, bests and ratios."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import statistics
import time
from typing import Any

from experiments import config as config_lib
from experiments.records import atomic_file
from experiments.records import hardware
from experiments.records import strict_json


def interleave(
  calls: Mapping[str, Callable[[], Any]], rounds: int, pause: float = 0.0
) -> dict[str, list[float]]:
  """Returns the seconds of each call in each round, after one warm-up call.

  Args:
    calls: functions, by name, that block until their work is complete.
    rounds: number of rounds; each runs every call once.
    pause: seconds before each call, as previous threads may still spin.
  """
  seconds = {name: [] for name in calls}
  for call in calls.values():
    call()
  for _ in range(rounds):
    for name, call in calls.items():
      time.sleep(pause)
      start = time.perf_counter()
      call()
      seconds[name].append(time.perf_counter() - start)
  return seconds


def rates(
  seconds: Mapping[str, list[float]], amount: int
) -> dict[str, dict[str, float]]:
  """Returns the median and best rate of each call, in units per second.

  Args:
    seconds: durations of each call, as `interleave` returns them.
    amount: units of work in one call.
  """
  return {
    name: {
      'median': amount / statistics.median(durations),
      'best': amount / min(durations),
    }
    for name, durations in seconds.items()
  }


@contextlib.contextmanager
def recording(unit: str, ours: str, file: str = '') -> Iterator[dict[str, Any]]:
  """Yields a record for `rates` by case; prints and stores it at the end.

  Args:
    unit: unit of the rates.
    ours: name of the call to compare with the others.
    file: file for the record and a description of the hardware; '' for none.

  Raises:
    ConfigError: before the body runs, if the file cannot be written.
  """
  record = {}
  with contextlib.ExitStack() as stack:
    path = None
    if file:
      path = stack.enter_context(atomic_file.replacing(config_lib.path(file)))
    yield record
    _print(record, unit, ours)
    if path:
      whole = {'hardware': hardware.describe(), 'unit': unit, 'rates': record}
      path.write_text(strict_json.dumps(whole, indent=2) + '\n')


def _print(record: Mapping[str, Any], unit: str, ours: str) -> None:
  """Prints all rates, and the ratio of our rate to each of the others."""
  for case, compared in record.items():
    for name, rate in compared.items():
      line = f'{case:<24} {name:<16}'
      line += f'{rate["median"]:>12,.1f} (best {rate["best"]:,.1f}) {unit}'
      if name != ours:
        ratios = (compared[ours][key] / rate[key] for key in ('median', 'best'))
        line += ' {}: {:.2f} times as fast (best {:.2f})'.format(ours, *ratios)
      print(line)
