"""Frames stacked by the agent are EnvPool's own stacks, bit for bit."""

import dm_env
import jax
import numpy as np
import pytest

from agents import agent as agent_lib
from agents import trajectory
from agents.networks import frame_stack
from envs import atari

FIRST, LAST = dm_env.StepType.FIRST, dm_env.StepType.LAST
SPEC = dm_env.specs.Array((24, 20, 3), np.uint8)
STEPS, GAMES, UNROLL = 400, 3, 20


@pytest.fixture(scope='module')
def games():
  """Breakout, played twice alike: timesteps of single frames, and stacks."""
  rng = np.random.default_rng(0)
  actions = rng.integers(4, size=(STEPS, GAMES), dtype=np.int32)

  def play(stack_num):
    env = atari.Atari(
      'Breakout-v5', GAMES, 3, max_episode_steps=150, stack_num=stack_num
    )
    return [env.reset(), *(env.step(action) for action in actions)]

  singles, stacks = play(1), play(4)
  assert singles[0].observation.shape == (GAMES, 84, 84, 1)
  kinds = np.stack([timestep.step_type for timestep in singles])
  discounts = np.stack([timestep.discount for timestep in singles])
  # Lives are lost within games; games end for good, and are cut off.
  assert np.sum((discounts == 0) & (kinds != LAST)) > 5
  assert np.sum((discounts == 0) & (kinds == LAST)) > 0
  assert np.sum((discounts == 1) & (kinds == LAST)) > 0
  return singles, [timestep.observation for timestep in stacks]


def stacked(timesteps, before):
  """The stacks of these timesteps together, and what goes on from there."""
  return jax.jit(frame_stack.stack)(
    np.stack([timestep.observation for timestep in timesteps]),
    np.stack([timestep.step_type == FIRST for timestep in timesteps]),
    before,
  )


@pytest.mark.parametrize('length', (1, 2, UNROLL), ids='in steps of {}'.format)
def test_stacks_are_envpools_own(games, length):
  singles, expected = games
  # What was before a first frame is not seen.
  before = np.full([GAMES, 84, 84, 3], 77, np.uint8)
  for start in range(0, STEPS - UNROLL, length):
    part = slice(start, start + length)
    stacks, before = stacked(singles[part], before)
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
def test_the_agent_sees_what_it_would_in_envpools_stacks(games, use_lstm):
  singles, stacks = games
  spec = dm_env.specs.Array((84, 84, 1), np.uint8)
  agent = make_agent(spec, 4, use_lstm)
  plain = make_agent(spec.replace(shape=(84, 84, 4)), 1, use_lstm)
  params = agent.init(jax.random.key(0))
  jax.tree.map(
    np.testing.assert_array_equal, params, plain.init(jax.random.key(0))
  )
  core, plain_core = agent.initial_state(GAMES), plain.initial_state(GAMES)
  # Acting, step by step, then an unroll from where that has led.
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


def test_frames_of_several_channels_are_stacked_whole():
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


def test_only_single_images_are_stacked():
  with pytest.raises(ValueError, match='single images'):
    make_agent({'a': SPEC, 'instruction': SPEC}, 4)
