"""Things compared in turns, in one process; medians, bests and ratios."""

from collections.abc import Callable
from collections.abc import Mapping
import json
import statistics
import time
from typing import Any

from experiments import atomic
from experiments import benchmark
from experiments import config as config_lib


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


def report(
  record: Mapping[str, Any], unit: str, ours: str, file: str = ''
) -> None:
  """Prints the rates and how many times the others' are ours; stores both.

  Args:
    record: of what was compared, the rates by name.
    unit: of the rates.
    ours: the name of what the others are held against.
    file: to write the record to, with the machine it was made on.
  """
  for what, compared in record.items():
    for name, rate in compared.items():
      line = f'{what:<24} {name:<16}'
      line += f'{rate["median"]:>12,.1f} (best {rate["best"]:,.1f}) {unit}'
      if name != ours:
        ratios = (compared[ours][key] / rate[key] for key in ('median', 'best'))
        line += ' {} is {:.2f} times that (best {:.2f})'.format(ours, *ratios)
      print(line, flush=True)
  if file:
    whole = {'hardware': benchmark.hardware(), 'unit': unit, 'rates': record}
    with atomic.replacing(config_lib.path(file)) as path:
      path.write_text(json.dumps(whole, indent=2) + '\n')
