"""Recomputes the update that stopped a run, and says where it went wrong.

python -m experiments.recompute runs/b/flight.npz
"""

from experiments import cli
from experiments import config as config_lib
from experiments.debugging import recomputation


def main(arguments: list[str]) -> None:
  """Replays the record that the command line names."""
  if len(arguments) != 1:
    raise config_lib.ConfigError('Name one file: a flight.npz.')
  finding = recomputation.recompute(
    recomputation.read(config_lib.path(arguments[0]))
  )
  if finding is None:
    print('Recomputed here, every array is finite.')
  else:
    print(f'The first array that is not finite: {finding}')


if __name__ == '__main__':
  cli.run(main, takes_arguments=True)
