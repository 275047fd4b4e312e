"""Compares off-policy corrections on small tasks, as section 5.2.2 does.

python -m experiments.ablation --quick              # minutes
python -m experiments.ablation                      # about an hour on 2 cores
python -m experiments.ablation --out=runs/ablation  # resumes an earlier one

Compares four corrections with and without replay, over sampled hyperparameters
and over policy lags; `studies.design` lists the runs. Each run is recorded when
it ends. `studies.report` writes the tables and figures at the end.
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
  """Runs the trials that have no record yet, and writes the report.

  Args:
    design: the trials.
    folder: the output folder.
    num_processes: the number of trials that run at a time.

  Returns:
    (trial, mean return) of every trial, in the order of the design.
  """
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
  """Runs the ablation as specified by the flags."""
  values = flags.FLAGS
  folder = config_lib.path(values.out)
  design = design_lib.QUICK if values.quick else design_lib.FULL
  try:
    results = run(design, folder, values.processes or hardware.num_cores())
  except KeyboardInterrupt:
    print(
      'Interrupted: finished runs are kept. Run the same command to resume.',
      file=sys.stderr,
    )
    sys.exit(130)
  print(report_lib.page(results))
  for name in ('ablation.md', 'results.csv', 'stability.png', 'lag.png'):
    print(f'  {folder / name}')


if __name__ == '__main__':
  flags.DEFINE_string(
    'out', 'runs/ablation', 'Output folder of run records, tables and figures.'
  )
  flags.DEFINE_boolean(
    'quick', False, 'Run a small design of a few short runs.'
  )
  flags.DEFINE_integer(
    'processes', 0, 'Runs at a time. 0: one per CPU core.', lower_bound=0
  )
  cli.run(main)
