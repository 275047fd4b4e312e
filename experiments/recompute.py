"""Recomputes a non-finite update and finds its first non-finite array.

python -m experiments.recompute runs/b/flight.npz
"""

from experiments import cli
from experiments import config as config_lib
from experiments.debugging import recomputation


def main(arguments: list[str]) -> None:
  """Recomputes the flight record whose path is the only argument."""
  if len(arguments) != 1:
    raise config_lib.ConfigError('Name one file: the flight.npz of a run.')
  finding = recomputation.recompute(
    recomputation.read(config_lib.path(arguments[0]))
  )
  if finding is None:
    print('In the recomputation every array is finite.')
  else:
    print(f'First non-finite array: {finding}')


if __name__ == '__main__':
  cli.run(main, takes_arguments=True, needs_devices=True)
