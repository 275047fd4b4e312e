"""Measures training throughput and finds its bottleneck (the profiler).

python -m experiments.benchmark --preset=pong
python -m experiments.benchmark --preset=atari --json=h100.json
python -m experiments.benchmark --preset=pong --tune
"""

from collections.abc import Mapping
import contextlib
import dataclasses
import functools
import itertools
import sys
from typing import Any

from absl import flags
import jax

from experiments import cli
from experiments import config as config_lib
from experiments.profiling import bound as bound_lib
from experiments.profiling import search
from experiments.profiling import stages
from experiments.profiling import suggestions
from experiments.records import atomic_file
from experiments.records import hardware
from experiments.records import strict_json
from experiments.training import setup as setup_lib
from experiments.training import validation

_FINALISTS = 3
_ROW = '{:<12}{:>12}{:>12}{:>12}{:>16}{:>12}'
_LEGEND = (
  'steps/s: agent steps per second, median and best round; frames/s: '
  'environment frames\nper second, median; per core-second: frames per second '
  'of CPU time; last column:\nshare of CPU or device time; whole: end-to-end '
  'training; rest: Python and waiting\noutside the stages.'
)
_REST_LABEL = 'Python and waiting outside the stages'


def measure(
  config: config_lib.Config, seconds: float, rounds: int
) -> tuple[dict[str, bound_lib.Throughput], int]:
  """Measures every stage alone and end-to-end training, in interleaved rounds.

  Args:
    config: the training to measure.
    seconds: measuring time of a stage per round; end-to-end training is
      measured four times as long.
    rounds: number of rounds, after a warm-up call of every stage.

  Returns:
    ({stage: throughput}, environment frames per agent step).
  """
  with contextlib.ExitStack() as stack:
    measures = stack.enter_context(stages.timing_stages(config))
    whole = setup_lib.make_setup(config)
    measures[stages.WHOLE] = stack.enter_context(stages.timing_training(whole))
    _log('Compiling every stage.')
    for call in measures.values():
      call(0.1)
    readings = {name: [] for name in measures}
    for number in range(rounds):
      _log(f'Measuring all stages and end-to-end training, round {number + 1}.')
      for name, call in measures.items():
        factor = 4 if name == stages.WHOLE else 1
        readings[name].append(call(seconds * factor))
    frames_per_step = whole.envs[0].frames_per_step
  throughputs = {
    name: bound_lib.throughput(values) for name, values in readings.items()
  }
  return throughputs, frames_per_step


def examine(
  config: config_lib.Config, seconds: float, rounds: int
) -> dict[str, Any]:
  """Measures throughput, bound, cost shares and the gain of other flags.

  Returns:
    The record that --json stores; throughputs are in agent steps per second.
  """
  machine = hardware.describe()
  on_accelerator = jax.default_backend() != 'cpu'
  find_bound = functools.partial(
    bound_lib.bound,
    num_cores=machine['num_cores'],
    on_accelerator=on_accelerator,
  )
  throughputs, frames_per_step = measure(config, seconds, rounds)
  bound = find_bound(throughputs)
  _log('Measuring the effect of other flags.')
  candidates = suggestions.alternatives(
    config, machine['num_devices'], on_accelerator
  )
  better = itertools.chain(
    suggestions.another_actor(config, throughputs, bound, 4 * seconds),
    suggestions.estimated(
      config, throughputs, find_bound, candidates, seconds / 2
    ),
  )
  return {
    'hardware': machine,
    'on_accelerator': on_accelerator,
    'config': dataclasses.asdict(config),
    'frames_per_step': frames_per_step,
    'stages': {
      name: throughput._asdict() for name, throughput in throughputs.items()
    },
    'bound': bound._asdict(),
    'share_of_bound': throughputs[stages.WHOLE].median / bound.steps_per_second,
    'share_of_bound_best': throughputs[stages.WHOLE].best
    / bound.steps_per_second,
    'shares': bound_lib.shares(throughputs, on_accelerator),
    'advice': [change._asdict() for change in better],
  }


def report(record: Mapping[str, Any]) -> None:
  """Prints the table of stages, the bottleneck and the suggested flags."""
  config, machine = record['config'], record['hardware']
  print(
    f'{config["env"]}, {config_lib.agent_name(config)}, '
    f'{config["num_actors"]} actors '
    f'x {config["envs_per_actor"]} environments, unrolls of '
    f'{config["unroll_length"]}, batch of {config["batch_size"]}, '
    f'{config["precision"]}'
  )
  print(
    f'{machine["num_devices"]} x {machine["device"]}; {machine["cpu"]}, '
    f'{machine["num_cores"]} cores; jax {machine["jax"]}, envpool '
    f'{machine["envpool"]}\n'
  )
  share = 'device time' if record['on_accelerator'] else 'CPU time'
  print(
    _ROW.format('', 'steps/s', 'best', 'frames/s', 'per core-second', share)
  )
  for name, throughput in record['stages'].items():
    print(_line(record, name, throughput, record['shares'].get(name)))
  if bound_lib.REST in record['shares']:
    rest = record['shares'][bound_lib.REST]
    print(_ROW.format(bound_lib.REST, '', '', '', '', f'{rest:.0%}'))
  bound = record['bound']
  frames = bound['steps_per_second'] * record['frames_per_step']
  print(
    _ROW.format(
      'bound', f'{bound["steps_per_second"]:,.0f}', '', f'{frames:,.0f}', '', ''
    )
  )
  print(_LEGEND)
  slowest = max(record['shares'], key=record['shares'].get)
  most = _REST_LABEL if slowest == bound_lib.REST else slowest
  print(
    f'\nTraining reaches {record["share_of_bound"]:.0%} of the bound '
    f'({record["share_of_bound_best"]:.0%} in the best round). Bottleneck: '
    f'{bound["reason"]}. Largest cost: {most}.'
  )
  for change in record['advice']:
    print(f'{_flags(change["flags"])}: {change["gain"]:+.0%}, {change["why"]}.')


def _log(message: str) -> None:
  """Prints progress to standard error; standard output has only the table."""
  print(message, file=sys.stderr, flush=True)


def _line(
  record: Mapping[str, Any],
  name: str,
  throughput: Mapping[str, float],
  share: float | None,
) -> str:
  frames = record['frames_per_step']
  return _ROW.format(
    name,
    f'{throughput["median"]:,.0f}',
    f'{throughput["best"]:,.0f}',
    f'{throughput["median"] * frames:,.0f}',
    f'{frames / throughput["cpu_seconds_per_step"]:,.0f}',
    '' if share is None else f'{share:.0%}',
  )


def _flags(values: Mapping[str, Any]) -> str:
  return ' '.join(f'--{name}={value}' for name, value in values.items())


def tune(config: config_lib.Config, seconds: float) -> None:
  """Measures combinations of actors and batch sizes and compares the best.

  Args:
    config: the requested training.
    seconds: measuring time per combination; twice as long in the comparison.
  """
  combinations = search.combinations(config, jax.local_device_count())
  print(
    f'{len(combinations)} combinations, measured once each; compilation takes '
    'most of the time.'
  )
  found = []
  for speed, changed in search.measure_each(combinations, seconds):
    _print_tuned(speed, changed)
    found.append((speed, changed))
  best = sorted(found, key=lambda pair: -pair[0])[:_FINALISTS]
  finalists = [config, *(changed for _, changed in best if changed != config)]
  print('Requested and fastest settings, measured in interleaved rounds:')
  compared = search.compare(finalists, 2 * seconds)
  requested = next(speed for speed, changed in compared if changed == config)
  for speed, changed in compared:
    _print_tuned(speed, changed, f'  {speed / requested - 1:+.0%}')
  print(
    'A larger batch size makes fewer updates from the same number of frames '
    'and may learn less from them.'
  )


def _print_tuned(
  speed: float, config: config_lib.Config, gain: str = ''
) -> None:
  flags_ = _flags(search.flags(config))
  print(f'{speed:>9,.0f} agent steps/s{gain}  {flags_}', flush=True)


def main() -> None:
  """Runs the profiler; exits with a one-line message on Ctrl-C."""
  try:
    run()
  except KeyboardInterrupt:
    _log('Interrupted: nothing was stored.')
    sys.exit(130)


def run() -> None:
  """Measures the training or, with --tune, other combinations of flags."""
  values = flags.FLAGS
  requested = cli.config_from_flags()
  validation.validate(requested, jax.local_device_count())
  config = dataclasses.replace(requested, num_frames=2**53)  # Never ends.
  if values.tune and values.json:
    raise config_lib.ConfigError(
      '--json cannot be used with --tune, which makes no table to store.'
    )
  if values.tune:
    tune(config, values.seconds)
    return
  if not values.json:
    report(examine(config, values.seconds, values.rounds))
    return
  with atomic_file.replacing(config_lib.path(values.json)) as file:
    record = examine(config, values.seconds, values.rounds)
    record['config'] = dataclasses.asdict(requested)
    report(record)
    file.write_text(strict_json.dumps(record, indent=2) + '\n')


if __name__ == '__main__':
  cli.define_flags()
  flags.adopt_module_key_flags(cli)  # --help lists them.
  flags.DEFINE_float(
    'seconds',
    1.0,
    'Seconds to measure a stage per round, or a combination with --tune.',
    lower_bound=0.1,
  )
  flags.DEFINE_integer(
    'rounds', 5, 'Rounds of measurements; unused with --tune.', lower_bound=1
  )
  flags.DEFINE_string(
    'json', '', 'JSON file that also stores the results. Empty: none.'
  )
  flags.DEFINE_boolean(
    'tune',
    False,
    'Instead, measure combinations of num_actors, envs_per_actor and '
    'batch_size and print the fastest.',
  )
  cli.run(main, needs_devices=True)
