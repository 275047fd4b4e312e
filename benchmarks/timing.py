"""Things compared in turns, in one process; medians, bests and ratios."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import json
import statistics
import time
from typing import Any

from experiments import config as config_lib
from experiments.records import atomic_file
from experiments.records import hardware


def interleave(
  calls: Mapping[str, Callable[[], Any]], rounds: int, pause: float = 0.0
) -> dict[str, list[float]]:
  """Seconds of every call in every round; each is called once before.

  Args:
    calls: wait for what they start.
    rounds: how many.
    pause: seconds before each call: threads of the one before may still spin.
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
  """Median and best rate of every call, each worth `amount`."""
  return {
    name: {
      'median': amount / statistics.median(its),
      'best': amount / min(its),
    }
    for name, its in seconds.items()
  }


@contextlib.contextmanager
def recording(unit: str, ours: str, file: str = '') -> Iterator[dict[str, Any]]:
  """Gives a record to be filled; on leaving prints it, and stores it.

  Args:
    unit: of the rates.
    ours: the name of what the others are held against.
    file: to write the record to, with the machine it was made on.

  Raises:
    ConfigError: at once, if the file cannot be written.
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
      path.write_text(json.dumps(whole, indent=2) + '\n')


def _print(record: Mapping[str, Any], unit: str, ours: str) -> None:
  """The rates, and how many times the others' are ours."""
  for what, compared in record.items():
    for name, rate in compared.items():
      line = f'{what:<24} {name:<16}'
      line += f'{rate["median"]:>12,.1f} (best {rate["best"]:,.1f}) {unit}'
      if name != ours:
        ratios = (compared[ours][key] / rate[key] for key in ('median', 'best'))
        line += ' {} is {:.2f} times that (best {:.2f})'.format(ours, *ratios)
      print(line)
