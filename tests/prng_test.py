"""A run is resumed with the random number generator it was trained with."""

import jax
import pytest

from experiments.training import run_state
from experiments.training import setup as setup_lib
from experiments.training.checkpoints import checkpoint
from tests import running

pytestmark = pytest.mark.usefixtures('one_device')


def test_another_random_number_generator_is_named():
  config = running.config_for()
  with jax.default_prng_impl('rbg'):
    setup = setup_lib.make_setup(config)
    setup.close()
    flat = checkpoint.flatten(run_state.pack(setup.run, None)())
    setup_lib.make_setup(config, flat).close()
  with pytest.raises(checkpoint.CheckpointError, match='4 integers.*fry2x32 2'):
    setup_lib.make_setup(config, flat)
