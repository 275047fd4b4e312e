"""Tests of the environments and their common conventions."""

import sys

import dm_env
import numpy as np
import pytest

from envs import atari
from envs import catch
from envs import delayed_catch
from envs import environment
from envs import envpool_env
from envs import registry

FIRST, MID, LAST = 0, 1, 2
TASKS = (
  'Catch',
  'DelayedCatch',
  'CartPole-v1',
  'MiniGrid-Empty-5x5-v0',
  'FrozenLake-v1',
  'Game2048-v1',  # Booleans.
  'TSP-v1',  # Integers from -1.
  'tests.own_envs:Walk',
  'tests.own_envs:Dice',
  'tests.own_envs:cart_pole',
)


def make_short_game(name, num_envs, seed):
  return atari.Atari(name, num_envs, seed, max_episode_steps=25)


def leaves(tree):
  return list(tree.values()) if isinstance(tree, dict) else [tree]


@pytest.mark.parametrize(
  'task,make',
  [(task, registry.make) for task in TASKS]
  + [('Breakout-v5', make_short_game)],
)
def test_every_env_follows_the_conventions(task, make):
  env = make(task, num_envs=3, seed=1)
  specs = leaves(env.observation_spec())
  rng = np.random.default_rng(0)
  before = env.reset()
  assert np.all(before.step_type == FIRST)
  episodes = 0
  while episodes < 6:
    actions = rng.integers(env.action_spec().num_values, size=3, dtype=np.int32)
    kept = [np.array(x) for x in leaves(before.observation)]
    timestep = env.step(actions)
    assert timestep.reward.dtype == timestep.discount.dtype == np.float32
    assert timestep.step_type.shape == timestep.reward.shape == (3,)
    for leaf, spec in zip(kept, specs, strict=True):
      assert leaf.shape == (3, *spec.shape)
      spec.validate(leaf[0])  # Checks dtype and bounds.
    for old, new in zip(kept, leaves(before.observation)):
      np.testing.assert_array_equal(old, new)  # Buffers are never reused.
    first = timestep.step_type == FIRST
    np.testing.assert_array_equal(first, before.step_type == LAST)
    np.testing.assert_array_equal(timestep.reward[first], 0)
    np.testing.assert_array_equal(timestep.discount[first], 1)
    episodes += np.sum(first)
    before = timestep
  env.close()


@pytest.mark.parametrize('task', ('Catch', 'CartPole-v1', 'Breakout-v5'))
def test_observations_depend_on_the_seed(task):
  def play(seed):
    env = registry.make(task, num_envs=2, seed=seed)
    steps = [env.reset()]
    for t in range(40):
      steps.append(env.step(np.full([2], t % 2, np.int32)))
    return np.stack([s.observation for s in steps])

  np.testing.assert_array_equal(play(3), play(3))
  assert np.any(play(3) != play(4))


def test_catch_follows_its_rules():
  env = catch.Catch(64, seed=0)
  timestep = env.reset()
  column = np.argmax(timestep.observation[:, 0], axis=1)
  assert set(column) == set(range(5))  # The ball starts in any column.
  paddle = np.argmax(timestep.observation[:, 9], axis=1)
  np.testing.assert_array_equal(paddle, 2)  # The paddle is in the middle.
  for t in range(1, 9):
    move = np.sign(column - paddle)  # Half of the paddles follow the ball.
    move[32:] = np.where(column[32:] < 2, 1, -1)  # Half avoid it.
    timestep = env.step(move + 1)
    paddle = np.clip(paddle + move, 0, 4)
    expected = np.zeros([64, 10, 5])
    expected[np.arange(64), t, column] = 1.0
    expected[np.arange(64), 9, paddle] = 1.0
    np.testing.assert_array_equal(timestep.observation, expected)
    np.testing.assert_array_equal(timestep.step_type, MID)
    np.testing.assert_array_equal(timestep.reward, 0.0)
    np.testing.assert_array_equal(timestep.discount, 1.0)
  timestep = env.step(np.ones([64], np.int32))
  np.testing.assert_array_equal(timestep.step_type, LAST)
  np.testing.assert_array_equal(timestep.discount, 0.0)
  np.testing.assert_array_equal(timestep.reward[:32], 1.0)
  np.testing.assert_array_equal(timestep.reward[32:], -1.0)


def test_truncation_has_discount_1_and_termination_discount_0():
  truncated = envpool_env.EnvPool('CartPole-v1', 2, 0, max_episode_steps=5)
  truncated.reset()
  for _ in range(5):
    timestep = truncated.step(np.array([0, 1], np.int32))
  np.testing.assert_array_equal(timestep.step_type, LAST)
  np.testing.assert_array_equal(timestep.discount, 1.0)
  game = atari.Atari('Breakout-v5', 2, 0, max_episode_steps=5)
  game.reset()
  for _ in range(5):
    timestep = game.step(np.zeros([2], np.int32))
  np.testing.assert_array_equal(timestep.step_type, LAST)
  np.testing.assert_array_equal(timestep.discount, 1.0)
  game._lives[:] = 9  # More lives than a new game has.
  timestep = game.step(np.zeros([2], np.int32))
  np.testing.assert_array_equal(timestep.step_type, FIRST)
  np.testing.assert_array_equal(timestep.discount, 1.0)
  terminated = envpool_env.EnvPool('CartPole-v1', 2, 0)
  timestep = terminated.reset()
  while not np.any(timestep.step_type == LAST):
    timestep = terminated.step(np.zeros([2], np.int32))
  np.testing.assert_array_equal(
    timestep.discount[timestep.step_type == LAST], 0.0
  )


def breakout_discounts(life_loss_ends_episode):
  """Plays two games; returns (lost a life, game over, discount, first)."""
  env = atari.Atari('Breakout-v5', 1, 0, life_loss_ends_episode)
  env.reset()
  lives, rows = [5], []
  while sum(over for _, over, _, _ in rows) < 2:
    timestep = env.step(np.array([1 + len(rows) % 2], np.int32))
    lives.append(int(env._lives[0]))
    rows.append(
      (
        lives[-1] < lives[-2],
        timestep.step_type[0] == LAST,
        timestep.discount[0],
        timestep.step_type[0] == FIRST,
      )
    )
  return np.array(rows)


def test_life_loss_has_discount_0_and_does_not_reset_the_game():
  lost, over, discount, first = breakout_discounts(True).T
  assert np.sum(lost) == 10 and np.sum(over) == 2 and np.sum(first) == 1
  np.testing.assert_array_equal(discount, 1 - lost)
  lost, over, discount, _ = breakout_discounts(False).T
  assert np.sum(lost) == 10
  np.testing.assert_array_equal(discount, 1 - over)


def test_a_gained_life_is_not_a_lost_life(monkeypatch):
  """Checks a game whose lives are 3, 4, 4, 3, 2, 2."""
  lives = iter((3, 4, 4, 3, 2, 2))
  plain = envpool_env.EnvPool._time_step

  def with_lives(self, outcome, observation, info):
    info['lives'] = np.array([next(lives)], np.int32)
    return plain(self, outcome, observation, info)

  env = atari.Atari('Breakout-v5', 1, 0)
  monkeypatch.setattr(envpool_env.EnvPool, '_time_step', with_lives)
  env.reset()
  discounts = [env.step(np.zeros([1], np.int32)).discount[0] for _ in range(5)]
  assert discounts == [1, 1, 0, 0, 1]


def test_atari_preprocessing_is_that_of_the_paper():
  env = registry.make('Pong-v5', num_envs=2, seed=0)
  config = env._pool.config
  expected = dict(
    frame_skip=4,
    stack_num=1,
    img_height=84,
    img_width=84,
    gray_scale=True,
    noop_max=30,
    max_episode_steps=27_000,
    use_fire_reset=False,
    episodic_life=False,
    reward_clip=False,
    repeat_action_probability=0.0,
    full_action_space=False,
  )
  assert {name: config[name] for name in expected} == expected
  assert env.observation_spec().shape == (84, 84, 1)
  assert env.frames_per_step == env.num_stacked == 4
  assert env.action_spec() == dm_env.specs.DiscreteArray(6)


@pytest.mark.parametrize(
  'name,match',
  (
    ('Pnog-v5', 'Pong-v5'),
    ('catch', 'Catch'),
    ('CartPole', 'CartPole-v1'),
    ('qqqqqq', 'qqqqqq'),
  ),
)
def test_errors_for_unknown_environments_name_near_matches(name, match):
  with pytest.raises(registry.UnknownEnvironmentError, match=match):
    registry.make(name, 1, 0)


def test_catch_works_without_envpool(monkeypatch):
  monkeypatch.setitem(sys.modules, 'envpool', None)
  registry.make('Catch', 1, 0)
  with pytest.raises(registry.UnknownEnvironmentError, match='Catch'):
    registry.make('catch', 1, 0)
  with pytest.raises(envpool_env.EnvPoolMissingError, match='pip install'):
    registry.make('Pong-v5', 1, 0)


def test_tasks_with_several_players_are_rejected():
  with pytest.raises(envpool_env.UnsupportedTaskError, match='players'):
    registry.make('TicTacToe-v1', 1, 0)


def test_unknown_envpool_options_are_rejected():
  with pytest.raises(envpool_env.UnsupportedTaskError, match='no_such_option'):
    envpool_env.EnvPool('CartPole-v1', 1, 0, no_such_option=1)


def test_frames_per_step_is_the_action_repeat_of_the_task():
  assert envpool_env.EnvPool('CartPole-v1', 1, 0).frames_per_step == 1
  assert envpool_env.EnvPool('Pong-v5', 1, 0, frame_skip=3).frames_per_step == 3


def test_catch_renders_its_board():
  env = catch.Catch(3, seed=0)
  timestep = env.reset()
  for t in range(12):
    for i in range(3):
      image = env.render(i)
      assert image.shape == (320, 160, 3) and image.dtype == np.uint8
      cells = image[16::32, 16::32]
      np.testing.assert_array_equal(
        cells.any(axis=-1), timestep.observation[i] == 1
      )
      np.testing.assert_array_equal(
        image, cells.repeat(32, axis=0).repeat(32, axis=1)
      )
      colours = cells[timestep.observation[i] == 1]  # Of ball and paddle.
      assert len(np.unique(colours, axis=0)) == len(colours)
    timestep = env.step((np.arange(3) + t) % 3)


@pytest.mark.parametrize(
  'task,shape',
  (('CartPole-v1', (400, 600, 3)), ('Breakout-v5', (210, 160, 3))),
)
def test_envpool_renders_the_requested_environment(task, shape):
  env = registry.make(task, 3, 0, renders=True)
  env.reset()
  before = [env.render(i) for i in range(3)]
  kept = [image.copy() for image in before]
  for _ in range(8):  # Environment 0 moves left or does nothing.
    env.step(np.array([0, 1, 1], np.int32))
  for i, image in enumerate(before):
    assert image.shape == shape and image.dtype == np.uint8
    np.testing.assert_array_equal(image, kept[i])  # Never overwritten.
    assert np.any(image != env.render(i)) == (task == 'CartPole-v1' or i > 0)


def test_the_first_frame_of_a_new_game_is_rendered():
  env = registry.make(
    'Breakout-v5', 1, 0, renders=True, noop_max=1, max_episode_steps=30
  )
  timestep, images = env.reset(), [env.render(0)]
  for t in range(31):
    timestep = env.step(np.array([1 if t < 2 else 3], np.int32))
    images.append(env.render(0))
  assert timestep.step_type[0] == FIRST
  np.testing.assert_array_equal(images[31], images[0])
  assert np.any(images[30] != images[0])


def test_unsupported_rendering_is_rejected():
  with pytest.raises(envpool_env.UnsupportedTaskError, match='render_mode'):
    registry.make('CartPole-v1', 1, 0).render(0)
  env = registry.make('FrozenLake-v1', 1, 0, renders=True)
  env.reset()
  with pytest.raises(envpool_env.UnsupportedTaskError, match='FrozenLake-v1'):
    env.render(0)


@pytest.mark.parametrize('task', ('CartPole-v1', 'Breakout-v5'))
def test_rendering_does_not_change_timesteps(task):
  plain, rendered = (
    registry.make(task, 2, 3, renders=renders) for renders in (False, True)
  )
  plain.reset(), rendered.reset()
  for t in range(60):
    actions = np.full([2], t % 2, np.int32)
    rendered.render(t % 2)
    a, b = plain.step(actions), rendered.step(actions)
    for x, y in zip(a, b):
      np.testing.assert_array_equal(x, y)


def test_settings_are_passed_to_the_env():
  env = registry.make(
    'Breakout-v5', 1, 0, noop_max=7, life_loss_ends_episode=False
  )
  assert env._pool.config['noop_max'] == 7
  assert not env._life_loss_ends_episode
  env = registry.make('CartPole-v1', 1, 0, max_episode_steps=5)
  assert env._pool.config['max_episode_steps'] == 5


@pytest.mark.parametrize(
  'task,settings,match',
  (
    ('Catch', dict(noop_max=3), 'Catch.*noop_max'),
    ('CartPole-v1', dict(noop_max=3), 'CartPole-v1.*noop_max'),
    ('Pong-v5', dict(no_such=3), 'Pong-v5.*no_such'),
    ('Pong-v5', dict(noop_max=0), 'noop_max=0'),  # EnvPool would crash.
  ),
)
def test_unsupported_settings_are_rejected(task, settings, match):
  with pytest.raises(registry.ERRORS, match=match):
    registry.make(task, 1, 0, **settings)


def test_is_atari_recognizes_atari_games():
  names = ('Pong-v5', 'CartPole-v1', 'Catch', 'Nonsense-v0')
  assert [registry.is_atari(name) for name in names] == [1, 0, 0, 0]


def test_catch_continues_from_a_saved_state():
  env, other = catch.Catch(5, seed=0), catch.Catch(5, seed=1)
  actions = np.random.default_rng(0).integers(3, size=[40, 5])
  env.reset()
  for action in actions[:12]:
    env.step(action)
  state = env.get_state()
  uninterrupted = [env.step(action) for action in actions[12:]]
  other.set_state(state)
  for action, expected in zip(actions[12:], uninterrupted, strict=True):
    timestep = other.step(action)
    for a, b in zip(timestep, expected, strict=True):
      np.testing.assert_array_equal(a, b)
  # A saved state is never overwritten.
  env.set_state(state)
  np.testing.assert_array_equal(
    env.step(actions[12]).observation, uninterrupted[0].observation
  )


def test_envpool_cannot_save_its_state():
  env = registry.make('CartPole-v1', 2, 0)
  assert env.get_state() is None
  with pytest.raises(NotImplementedError):
    env.set_state(None)


def test_num_threads_is_at_most_the_number_of_envs():
  threads = {
    number: registry.make(
      'CartPole-v1', num_envs=2, seed=0, num_threads=number
    )._pool.config['num_threads']
    for number in (1, 2, 3)
  }
  assert threads == {1: 1, 2: 2, 3: 2}


def test_delayed_catch_rewards_all_balls_at_the_end():
  """Checks that a paddle that catches all balls of an episode gets 1."""
  env = delayed_catch.DelayedCatch(8, seed=0)
  timestep = env.reset()
  rng = np.random.default_rng(1)
  clumsy = rng.random(8) < 0.5
  steps, num_ends, mixed = 0, np.zeros(8), False
  while steps < 2 * (3 * 10):
    ball = timestep.observation[:, :-1].sum(1).argmax(-1)
    paddle = timestep.observation[:, -1].argmax(-1)
    actions = np.where(
      clumsy, rng.integers(3, size=8), 1 + np.sign(ball - paddle)
    )
    timestep = env.step(actions)
    steps += 1
    over = timestep.step_type == LAST
    assert over.all() == over.any() == (steps % 30 == 29)
    np.testing.assert_array_equal(timestep.reward[~over], 0)
    if over.any():
      np.testing.assert_array_equal(timestep.reward[~clumsy], 1)
      assert set(np.round(3 * timestep.reward, 5)) <= {-3, -1, 1, 3}
      assert (timestep.reward[clumsy] < 1).any()
      mixed |= bool((np.abs(timestep.reward) < 0.9).any())
      num_ends += 1
  assert (num_ends == 2).all()
  assert mixed  # Some paddles caught one or two of three balls.


def test_delayed_catch_continues_from_a_saved_state():
  one, other = (delayed_catch.DelayedCatch(4, seed) for seed in (0, 1))
  rng = np.random.default_rng(0)
  one.reset()
  for _ in range(70):
    one.step(rng.integers(3, size=4))
  other.reset()
  other.set_state(one.get_state())
  for _ in range(70):
    actions = rng.integers(3, size=4)
    for a, b in zip(one.step(actions), other.step(actions)):
      np.testing.assert_array_equal(a, b)


def test_images_are_recognized_by_the_size_that_the_task_states():
  env = envpool_env.EnvPool('D1Basic-v1', 1, 0, stack_num=30)
  try:
    assert env.observation_spec().shape == (84, 84, 30)
    assert env.reset().observation.shape == (1, 84, 84, 30)
  finally:
    env.close()
  square = dict(img_height=8, img_width=8)
  wide = dict(img_height=6, img_width=9)
  pixels = dict(render_height=5, render_width=7)
  for shape, config, expected in (
    ((8, 8, 8), square, True),
    ((40, 8, 8), square, True),
    ((12, 6, 9), wide, True),
    ((6, 9, 12), wide, False),
    ((96, 5, 7), pixels, True),
    ((3, 64, 64), {}, True),
    ((96, 96, 3), {}, False),
    ((7, 7, 3), dict(width=9, height=7), False),
  ):
    found = envpool_env.is_channels_first(shape, np.uint8, config)
    assert found == expected, shape
  assert not envpool_env.is_channels_first((6, 3, 3), np.int8, {})


def test_discrete_leaves_of_a_task_start_at_0():
  env = registry.make('TSP-v1', 2, 0)
  assert env.observation_spec()['position'] == dm_env.specs.DiscreteArray(21)
  assert list(env.reset().observation['position']) == [0, 0]  # It gives -1.


def test_a_reward_that_is_not_finite_names_the_environment():
  nothing = np.zeros([3], bool)
  for bad in (np.nan, np.inf, -1e39):
    outcome = environment.Outcome(
      nothing, np.array([0.0, 1.0, bad]), nothing, nothing
    )
    with pytest.raises(environment.RewardError, match='Maze.*environment 2'):
      environment.time_step(outcome, np.zeros([3]), 'Maze')
    first = outcome._replace(first=~nothing)  # A reset's reward is ignored.
    assert environment.time_step(first, np.zeros([3])).reward[2] == 0


def test_env_kwargs_override_the_options_of_a_task():
  env = registry.make(
    'Pong-v5',
    1,
    0,
    env_kwargs={'repeat_action_probability': 0.25, 'noop_max': 9},
    noop_max=7,
  )
  config = env._pool.config
  assert config['repeat_action_probability'] == 0.25
  assert config['noop_max'] == 7  # What the caller sets has priority.


@pytest.mark.parametrize(
  'task,settings,match',
  (
    ('Catch', dict(env_kwargs={'rows': 3}), 'Catch.*rows'),
    ('CartPole-v1', dict(env_kwargs={'rows': 3}), 'CartPole-v1.*rows'),
    ('CartPole-v1', dict(env_kwargs={'seed': 3}), 'seed'),
    ('CartPole-v1', dict(env_processes=True), '--env_processes.*CartPole-v1'),
  ),
)
def test_arguments_that_an_environment_lacks_are_rejected(
  task, settings, match
):
  with pytest.raises(registry.ERRORS, match=match):
    registry.make(task, 1, 0, **settings)
