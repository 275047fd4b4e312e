"""The top layer: commands, flags, logging, and the setup of runs."""

import sys
from typing import Any

from experiments import process

if sys.argv[:1] == ['-m']:  # python -m experiments.x imports its modules now.
  process.prepare()


def load(logdir: Any, **settings: Any) -> Any:
  """Returns what a run has trained; see `training.policy.load`.

  `import experiments` does not import JAX: this call does.

  Args:
    logdir: the log directory of the run.
    **settings: `step`, `greedy`, `seed` and `parts` of `training.policy.load`.
  """
  from experiments.training import policy

  return policy.load(logdir, **settings)
