"""Tests of the evaluator: whole episodes, played as an actor plays."""

import itertools

import jax
import numpy as np
import pytest

from agents import actor
from agents import agent as agent_lib
from agents import evaluator
from envs import atari
from envs import catch
from tests import counting

FIRST, LAST = 0, 2


def play_counting(lengths, num_episodes, act=None, watch=None):
  agent = counting.make_counting_agent()
  return evaluator.play(
    counting.CountingEnv(num_envs=len(lengths), lengths=lengths),
    act or actor.make_act(agent),
    agent.init(None),
    core_state=agent.initial_state(len(lengths)),
    key=jax.random.key(0),
    num_episodes=num_episodes,
    watch=watch,
  )


def counting_return(length):
  """Returns the unclipped return of a whole episode."""
  return sum(10 * t + counting.action_at(t) for t in range(length))


@pytest.mark.parametrize(
  'lengths,num_episodes,expected',
  (
    # The first 7 to end have lengths [3] * 6 + [20].
    ((3, 20), 7, [3] * 4 + [20] * 3),
    ((20, 3), 7, [20] * 4 + [3] * 3),
    ((3, 5, 8), 5, [3, 3, 5, 5, 8]),
    ((20, 3, 3), 1, [20]),  # More environments than episodes.
    ((4,), 3, [4] * 3),
  ),
)
def test_short_episodes_are_not_overrepresented(
  lengths, num_episodes, expected
):
  episodes = play_counting(lengths, num_episodes)
  np.testing.assert_array_equal(episodes.lengths, expected)
  np.testing.assert_array_equal(
    episodes.returns, [counting_return(n) for n in expected]
  )
  assert episodes.returns.dtype == np.float64


@pytest.mark.parametrize('number', (0, -2))
def test_a_number_of_episodes_that_is_not_positive_is_named(number):
  with pytest.raises(ValueError, match=f'^{number} episodes.*at least 1'):
    play_counting((3, 4), number)


def test_the_agent_gets_the_same_inputs_as_in_an_actor():
  """Checks last action and reward, core state and first steps."""
  act = actor.make_act(counting.make_counting_agent())
  calls = []

  def spy(params, key, row, core_state):
    output, core_state, key = act(params, key, row, core_state)
    calls.append((row, output.action, core_state))
    return output, core_state, key

  play_counting((3, 5), 6, spy)
  assert len(calls) == 5 * 3 + 2
  for (_, action, _), (row, _, core) in itertools.pairwise(calls):
    first = row.timestep.step_type == FIRST
    t = row.timestep.observation[:, 2]
    np.testing.assert_array_equal(first, t == 0)
    np.testing.assert_array_equal(row.action, action)
    np.testing.assert_array_equal(
      row.timestep.reward, np.where(first, 0, 10 * (t - 1) + action)
    )
    np.testing.assert_array_equal(core, t + 1)  # Observations so far.


def test_play_equals_an_actor_with_the_same_key():
  env = catch.Catch(3, 0)
  agent = agent_lib.make_agent(
    env.observation_spec(), env.action_spec(), torso='mlp', use_lstm=True
  )
  params, act = jax.jit(agent.init)(jax.random.key(1)), actor.make_act(agent)
  rollout = next(
    actor.rollouts(
      catch.Catch(3, seed=5),
      act,
      lambda: (0, params),
      state=actor.ActorState(jax.random.key(2), None),
      initial_core_state=agent.initial_state(3),
      unroll_length=99,  # 10 episodes per board: 9 steps and a reset.
      actor_id=0,
    )
  )
  episodes = evaluator.play(
    catch.Catch(3, seed=5),
    act,
    params,
    core_state=agent.initial_state(3),
    key=jax.random.key(2),
    num_episodes=30,
  )
  # The actor orders episodes by the time of their end.
  returns = rollout.episode_returns.reshape([10, 3])
  assert len(set(returns.ravel())) == 2
  np.testing.assert_array_equal(episodes.returns, returns.T.ravel())
  np.testing.assert_array_equal(episodes.lengths, 9)


def follow_the_ball(params, key, row, core_state):
  board = row.timestep.observation
  ball = np.argmax(board[:, :-1].sum(1), axis=1)
  move = np.sign(ball - np.argmax(board[:, -1], axis=1))
  return agent_lib.ActorOutput(move + 1, ()), core_state, key


def test_the_optimal_policy_on_catch_catches_every_ball():
  episodes = evaluator.play(
    catch.Catch(8, seed=1),
    follow_the_ball,
    None,
    core_state=(),
    key=None,
    num_episodes=100,
  )
  np.testing.assert_array_equal(episodes.returns, np.ones(100))
  np.testing.assert_array_equal(episodes.lengths, 9)


def test_a_game_continues_when_a_life_is_lost():
  lives, over = [], []

  def act(params, key, row, core_state):
    # Alternates between firing and moving right.
    action = np.full([2], 1 + len(lives) % 2, np.int32)
    return agent_lib.ActorOutput(action, ()), core_state, key

  def watch(timestep):
    lives.append(env._lives)
    over.append(timestep.step_type == LAST)
    return False

  env = atari.Atari('Breakout-v5', 2, seed=0)
  episodes = evaluator.play(
    env,
    act,
    None,
    core_state=(),
    key=None,
    num_episodes=2,
    watch=watch,
  )
  lives, over = np.array(lives), np.array(over)
  ends = np.argmax(over, axis=0)  # First end per env.
  np.testing.assert_array_equal(episodes.lengths, ends)
  for i, end in enumerate(ends):
    assert set(lives[1:end, i]) == {5, 4, 3, 2, 1} and lives[end, i] == 0


def test_watch_gets_every_timestep_and_can_extend_play():
  seen = []

  def watch(timestep):
    seen.append(timestep.observation[0, 2])
    return len(seen) < 10

  episodes = play_counting((3, 5), 2, watch=watch)
  assert seen == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]  # From the reset.
  np.testing.assert_array_equal(episodes.lengths, [3, 5])
