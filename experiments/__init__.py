"""The top layer: commands, flags, logging, and the setup of runs."""

import sys
from typing import Any

from experiments import process

# While -m finds the module, sys.argv has its name only in sys.orig_argv. Other
# programs, which may import this package too, keep their handlers.
if sys.argv[:1] == ['-m'] and any(
  argument.removeprefix('-m').startswith('experiments.')
  for argument in sys.orig_argv
):
  process.prepare()  # python -m experiments.x imports its modules now.


def load(logdir: Any, **settings: Any) -> Any:
  """Returns what a run has trained; see `training.policy.load`.

  `import experiments` does not import JAX: this call does.

  Args:
    logdir: the log directory of the run.
    **settings: `step`, `greedy`, `seed` and `parts` of `training.policy.load`.
  """
  from experiments.training import policy

  return policy.load(logdir, **settings)
