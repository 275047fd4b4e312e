"""The paper's comparison of corrections, on small tasks: one command.

python -m experiments.ablation --quick              # minutes
python -m experiments.ablation                      # about an hour on 2 cores
python -m experiments.ablation --out=runs/ablation  # again: it goes on

Four corrections, with and without replay, over samples of hyperparameters and
over policy lags; `studies.design` says which. Every run is recorded when it is
over, and the tables and figures are drawn at the end: see `studies.report`.
"""

import pathlib
import sys

from absl import flags
import tqdm

from experiments import cli
from experiments import config as config_lib
from experiments.records import hardware
from experiments.studies import confidence
from experiments.studies import design as design_lib
from experiments.studies import report as report_lib
from experiments.studies import runner


def run(
  design: design_lib.Design, folder: pathlib.Path, num_processes: int
) -> list[confidence.Result]:
  """Runs what is missing, and draws all."""
  wanted = design_lib.trials(design)
  results = []
  with tqdm.tqdm(total=len(wanted), unit='run', smoothing=0.1) as bar:
    for trial, record in runner.run_all(wanted, folder / 'runs', num_processes):
      results.append((trial, record['mean_return']))
      bar.update()
      bar.set_postfix_str(f'{trial.name}: {record["mean_return"]:.2f}')
  order = {trial.name: i for i, trial in enumerate(wanted)}
  results.sort(key=lambda result: order[result[0].name])
  report_lib.write(results, folder)
  return results


def main() -> None:
  """Runs the ablation that the flags ask for."""
  values = flags.FLAGS
  folder = config_lib.path(values.out)
  design = design_lib.QUICK if values.quick else design_lib.FULL
  try:
    results = run(design, folder, values.processes or hardware.num_cores())
  except KeyboardInterrupt:
    print(
      'Interrupted: what was over is kept; the same command goes on.',
      file=sys.stderr,
    )
    sys.exit(130)
  print(report_lib.page(results))
  for name in ('ablation.md', 'results.csv', 'stability.png', 'lag.png'):
    print(f'  {folder / name}')


if __name__ == '__main__':
  flags.DEFINE_string('out', 'runs/ablation', 'Where all of it is recorded.')
  flags.DEFINE_boolean('quick', False, 'A few short runs, to see it work.')
  flags.DEFINE_integer(
    'processes', 0, 'Runs at a time; 0: as many as cores.', lower_bound=0
  )
  cli.run(main)
