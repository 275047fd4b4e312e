"""The top layer: commands, flags, logging, and the setup of runs."""

import sys

from experiments import process

if sys.argv[:1] == ['-m']:  # python -m experiments.x imports its modules now.
  process.prepare()
