"""Frames stacked by the agent are bit-identical to EnvPool's stacks."""

import dm_env
import jax
import numpy as np
import pytest

from agents import agent as agent_lib
from agents import trajectory
from agents.networks import frame_stack
from envs import atari
from envs import text

FIRST, LAST = dm_env.StepType.FIRST, dm_env.StepType.LAST
SPEC = dm_env.specs.Array((24, 20, 3), np.uint8)
STEPS, GAMES, UNROLL = 400, 3, 20


@pytest.fixture(scope='module')
def games():
  """Plays Breakout twice with the same actions: as frames and as stacks."""
  rng = np.random.default_rng(0)
  actions = rng.integers(4, size=(STEPS, GAMES), dtype=np.int32)

  def play(stack_num):
    env = atari.Atari(
      'Breakout-v5', GAMES, 3, max_episode_steps=150, stack_num=stack_num
    )
    return [env.reset(), *(env.step(action) for action in actions)]

  singles, stacks = play(1), play(4)
  assert singles[0].observation.shape == (GAMES, 84, 84, 1)
  step_types = np.stack([timestep.step_type for timestep in singles])
  discounts = np.stack([timestep.discount for timestep in singles])
  # Lives are lost within games; some games terminate, others are truncated.
  assert np.sum((discounts == 0) & (step_types != LAST)) > 5
  assert np.sum((discounts == 0) & (step_types == LAST)) > 0
  assert np.sum((discounts == 1) & (step_types == LAST)) > 0
  return singles, [timestep.observation for timestep in stacks]


def stacked(timesteps, previous):
  """Stacks these timesteps; returns the stacks and the last frames."""
  return jax.jit(frame_stack.stack)(
    np.stack([timestep.observation for timestep in timesteps]),
    np.stack([timestep.step_type == FIRST for timestep in timesteps]),
    previous,
  )


@pytest.mark.parametrize('length', (1, 2, UNROLL), ids='length {}'.format)
def test_stacks_equal_those_of_envpool(games, length):
  singles, expected = games
  # A stack holds no frame from before the first one of its episode.
  previous = np.full([GAMES, 84, 84, 3], 77, np.uint8)
  for start in range(0, STEPS - UNROLL, length):
    part = slice(start, start + length)
    stacks, previous = stacked(singles[part], previous)
    np.testing.assert_array_equal(stacks, np.stack(expected[part]))


def make_agent(spec, num_stacked, use_lstm=False):
  return agent_lib.make_agent(
    spec,
    dm_env.specs.DiscreteArray(4),
    torso='shallow',
    use_lstm=use_lstm,
    num_stacked=num_stacked,
  )


@pytest.mark.parametrize('use_lstm', (False, True), ids=('ff', 'lstm'))
def test_agent_outputs_equal_those_on_envpool_stacks(games, use_lstm):
  singles, stacks = games
  spec = dm_env.specs.Array((84, 84, 1), np.uint8)
  agent = make_agent(spec, 4, use_lstm)
  plain = make_agent(spec.replace(shape=(84, 84, 4)), 1, use_lstm)
  params = agent.init(jax.random.key(0))
  jax.tree.map(
    np.testing.assert_array_equal, params, plain.init(jax.random.key(0))
  )
  core, plain_core = agent.initial_state(GAMES), plain.initial_state(GAMES)
  # Single steps first, then an unroll from the core state after them.
  step, plain_step = jax.jit(agent.step), jax.jit(plain.step)
  for timestep, observation in list(zip(singles, stacks))[:UNROLL]:
    row = trajectory.first_row(timestep)
    stack = trajectory.first_row(timestep._replace(observation=observation))
    key = jax.random.key(1)
    output, core = step(params, key, row, core)
    plain_output, plain_core = plain_step(params, key, stack, plain_core)
    np.testing.assert_array_equal(output.log_prob, plain_output.log_prob)
  rows, plain_rows = (
    jax.tree.map(
      lambda *xs: np.stack(xs),
      *(
        trajectory.first_row(timestep._replace(observation=observation))
        for timestep, observation in zip(
          singles[UNROLL : 3 * UNROLL], observations[UNROLL : 3 * UNROLL]
        )
      ),
    )
    for observations in ([s.observation for s in singles], stacks)
  )
  np.testing.assert_array_equal(
    jax.jit(agent.unroll)(params, rows, core).value,
    jax.jit(plain.unroll)(params, plain_rows, plain_core).value,
  )


def test_frames_with_several_channels_are_stacked():
  frames = np.arange(5)[:, None, None, None, None] * 10 + np.arange(2)
  stacks, after = frame_stack.stack(
    frames, np.array([[1], [0], [0], [1], [0]], bool), np.full([1, 1, 1, 4], 99)
  )
  np.testing.assert_array_equal(
    stacks[:, 0, 0, 0],
    [
      [0, 1, 0, 1, 0, 1],
      [0, 1, 0, 1, 10, 11],
      [0, 1, 10, 11, 20, 21],
      [30, 31, 30, 31, 30, 31],
      [30, 31, 30, 31, 40, 41],
    ],
  )
  np.testing.assert_array_equal(after[0, 0, 0], [30, 31, 40, 41])


def test_stacking_several_observations_raises_value_error():
  with pytest.raises(ValueError, match='single image'):
    make_agent({'a': SPEC, 'mission': text.HashedWords(3)}, 4)
