"""Tests of the examples: they are short, and what they train learns."""

import pathlib

import numpy as np
import pytest

from envs import registry
from examples import agent_in_your_loop
from examples import vtrace_in_your_learner

FOLDER = pathlib.Path(__file__).parent.parent / 'examples'


def test_vtrace_in_your_learner_learns_from_old_data():
  rewards = list(vtrace_in_your_learner.train(num_updates=100))
  # A random walk leaves the corridor every 72 steps, the best walk every 8.
  assert np.mean(rewards[-20:]) > 0.1 > 3 * np.mean(rewards[:10])


def test_the_agent_in_your_loop_learns():
  env = registry.make('Catch', 32, seed=0)
  returns = list(agent_in_your_loop.train(env, num_updates=60))
  assert np.mean(returns[-5:]) > 0.5 > np.mean(returns[:5])


@pytest.mark.parametrize(
  'path', sorted(FOLDER.glob('[!_]*.py')), ids=lambda path: path.stem
)
def test_an_example_has_less_than_60_lines(path):
  assert len(path.read_text().splitlines()) < 60
