"""Tests of custom environments: seeds, episode ends, actions and errors."""

import sys
import threading
import types

from absl import logging
import dm_env
from gymnasium import spaces
import numpy as np
import pytest

from envs import catch
from envs import closing
from envs import environment
from envs import factories
from envs import registry
from envs import vectorized
from envs.custom import one_thread
from experiments import train
from experiments.checking import recording_env
from tests import edge_envs
from tests import running

FIRST, MID, LAST = 0, 1, 2


def play(name, actions, num_envs=2, seed=0):
  env = registry.make(name, num_envs, seed)
  return [env.reset(), *(env.step(np.full(num_envs, a)) for a in actions)]


def test_actions_are_counted_from_the_minimum():
  env = registry.make('tests.own_envs:Walk', 2, 0)
  assert env.action_spec() == dm_env.specs.DiscreteArray(3)
  start = env.reset().observation['place'][:, 0]
  for action, moved in ((2, 1), (0, 0), (1, 0)):
    place = env.step(np.array([action, 1])).observation['place'][:, 0]
    np.testing.assert_array_equal(place - start, [moved, 0])
  assert registry.make('tests.own_envs:Dice', 1, 0).action_spec() == (
    dm_env.specs.DiscreteArray(6)
  )


def test_termination_has_discount_0_and_truncation_discount_1():
  steps = play('tests.own_envs:Walk', [1] * 9)
  assert [s.step_type[0] for s in steps] == [0, 1, 1, 1, 1, 1, 1, 2, 0, 1]
  assert steps[7].discount[0] == 1 and steps[7].reward[0] == -0.5
  assert steps[8].reward[0] == 0 and steps[8].discount[0] == 1
  steps = play('tests.own_envs:Walk', [2] * 4)
  (ended,) = [s for s in steps if s.step_type[0] == LAST][:1]
  assert ended.discount[0] == 0 and ended.reward[0] == 1


def test_termination_takes_precedence_over_truncation():
  seen = set()
  for step in play('tests.own_envs:Dice', [5] * 500):
    for i in np.flatnonzero(step.step_type == LAST):
      assert (step.discount[i] == 0) == (step.observation[i] == 6)
      seen.add(float(step.discount[i]))
  assert seen == {0.0, 1.0}


@pytest.mark.parametrize('name', ('Walk', 'Dice', 'cart_pole'))
def test_every_copy_has_its_own_seed(name):
  def observations(num_envs, seed):
    steps = play(f'tests.own_envs:{name}', [1] * 30, num_envs, seed)
    seen = [s.observation for s in steps]
    return np.stack([x['place'] if isinstance(x, dict) else x for x in seen])

  one, same = observations(3, 5), observations(3, 5)
  np.testing.assert_array_equal(one, same)
  assert np.any(one[:, 0] != one[:, 1])
  np.testing.assert_array_equal(one[:, 1], observations(1, 6)[:, 0])


def test_rendering_works_only_if_requested():
  env = registry.make('tests.own_envs:Dice', 2, 0, renders=True)
  env.reset()
  shown = env.step(np.array([0, 0])).observation
  assert (env.render(1) == shown[1]).all()
  plain = registry.make('tests.own_envs:Dice', 1, 0)
  plain.reset()
  with pytest.raises(factories.FactoryError, match='render'):
    plain.render(0)


@pytest.mark.parametrize(
  'name,match',
  (
    ('tests.own_envs:Wlak', "function.*'Wlak'"),
    ('tests.own_envs:not_callable', 'function'),
    ('tests.no_envs:Walk', "No module.*'tests.no_envs'"),
    ('tests.own_envs:neither', 'Gymnasium'),
    (':Walk', 'module:factory'),
    ('./own_envs:Walk', 'module:factory'),
    ('gymnasium:make', "argument: 'id'"),
    ('tests.own_envs:Nested', 'dict'),
  ),
)
def test_unusable_factories_raise_factory_error(name, match):
  with pytest.raises(factories.FactoryError, match=match):
    registry.make(name, 1, 0)
  assert factories.FactoryError in registry.ERRORS


def test_a_reward_may_be_an_array_of_one_element():
  env = registry.make('tests.own_envs:Wild', 3, 0)
  env.reset()
  reward = env.step(np.zeros([3, 2], np.float32)).reward
  np.testing.assert_array_equal(reward, [0.5] * 3)


def test_settings_are_rejected():
  with pytest.raises(registry.UnsupportedSettingError, match='stack_num'):
    registry.make('tests.own_envs:Walk', 1, 0, stack_num=4)


@pytest.mark.slow
def test_training_runs_on_a_custom_env(tmp_path, monkeypatch):
  running.see_one_device(monkeypatch)
  monkeypatch.chdir(tmp_path)
  config = running.config_for(
    env='tests.own_envs:Walk', num_frames=500, torso='mlp'
  )
  assert train.train(config).num_episodes > 20
  (logdir,) = (tmp_path / 'runs').iterdir()
  assert logdir.name.startswith('tests.own_envs-Walk-seed0')


def made(name, num_envs=2, seed=0, **settings):
  return registry.make(f'tests.edge_envs:{name}', num_envs, seed, **settings)


def made_by(factory, num_envs=2, **settings):
  return registry.make('Mine', num_envs, 0, factory=factory, **settings)


def act(env, action, steps=1):
  actions = np.full([env.num_envs], action, np.int32)
  return [env.step(actions) for _ in range(steps)][-1]


FLOATS = spaces.Box(0, 300, (2,), np.float32)
HALVES = spaces.Box(0, 300, (2,), np.float16)
BYTES = spaces.Box(-9, 9, (2,), np.int8)


@pytest.mark.parametrize(
  'space,show,expected',
  (
    (FLOATS, lambda t: np.full(2, 200, np.uint8), np.float32([200, 200])),
    (FLOATS, lambda t: [1, 2.5], np.float32([1, 2.5])),
    (FLOATS, lambda t: np.array([0.1, 3]), np.float32([0.1, 3])),
    (spaces.Box(0, 9, (), np.int64), lambda t: 7, np.int32(7)),
    (spaces.Discrete(4, start=6), lambda t: 9, np.int32(3)),
    (spaces.MultiBinary(2), lambda t: [True, False], np.int8([1, 0])),
    (HALVES, lambda t: np.array([0.1, 3]), np.float16([0.1, 3])),
    (BYTES, lambda t: np.array([-0.0, 3]), np.int8([0, 3])),
  ),
)
def test_observations_are_converted_to_what_is_declared(space, show, expected):
  env = made_by(edge_envs.showing(space, show), records=True)
  for timestep in (env.reset(), act(env, 0), act(env, 0, 4)):
    assert timestep.observation.dtype == expected.dtype
    np.testing.assert_array_equal(timestep.observation, [expected, expected])
    env.observation_spec().validate(timestep.observation[0])
    sums = recording_env.values_checksums(timestep.observation, 2)
    np.testing.assert_array_equal(env.checksums, sums)


@pytest.mark.parametrize(
  'space,show,match',
  (
    (spaces.Box(0, 9, (2,), np.uint8), lambda t: [0.5 * t, 1], 'uint8'),
    (BYTES, lambda t: [200 * t, 1], '200'),
    (spaces.Box(0, 2**40, (), np.int64), lambda t: 2**31 * t, '2147483648'),
    (FLOATS, lambda t: np.array([t * 1e300, 0]), 'float32'),
    (FLOATS, lambda t: np.zeros(2 + t, np.float32), 'shape.*3'),
    (FLOATS, lambda t: np.array(['a', 'b']) if t else [0, 0], 'numbers'),
    (FLOATS, lambda t: [[1], [2, 3]] if t else [0, 0], 'not an array'),
    (spaces.Discrete(3, start=1), lambda t: 1 + 3 * t, '4, not one of 1 to 3'),
    (spaces.Dict({'u': FLOATS}), lambda t: {'u' * (t + 1): [0, 0]}, 'keys uu'),
    (spaces.Dict({'u': FLOATS}), lambda t: {'u': [0] * (2 + t)}, "'u'"),
  ),
)
def test_observations_that_are_not_as_declared_are_rejected(space, show, match):
  env = made_by(edge_envs.showing(space, show))
  env.reset()
  with pytest.raises(factories.FactoryError, match=f'Mine.*0.*{match}'):
    act(env, 0)


@pytest.mark.parametrize(
  'space', (spaces.Text(5), spaces.Tuple([FLOATS]), spaces.Sequence(FLOATS))
)
def test_spaces_that_are_not_arrays_are_rejected_by_their_leaf(space):
  nested = spaces.Dict({'in': spaces.Dict({'words': space})})
  with pytest.raises(factories.FactoryError, match=r'Mine.*in\.words'):
    made_by(edge_envs.showing(nested, None))


def test_nested_observations_are_plain_dicts_with_the_right_leaves():
  env = made('Shifted', records=True)
  spec = env.observation_spec()
  assert type(spec) is type(spec['outer']) is dict
  assert spec['outer']['z'] == dm_env.specs.DiscreteArray(5)
  env.reset()
  observation = act(env, 0, 3).observation
  assert type(observation['outer']) is dict
  assert list(observation['outer']['z']) == [3, 3]
  assert list(observation['outer']['a']) == [1, 1]


def test_actions_have_the_dtype_of_the_spec():
  env = made('Wide')
  assert env.action_spec().num_values == 256
  env.reset()
  for action in (0, 127, 200, 255):
    assert act(env, action).observation[0] == action - 128
  for dtype, low, high in ((np.uint8, 250, 255), (np.int16, -3, 3)):
    env = made('Wide', env_kwargs=dict(dtype=dtype, low=low, high=high))
    env.reset()
    assert act(env, 5).observation[1] == low + 5


def test_a_discount_between_0_and_1_arrives():
  env = made('Fading')
  assert list(env.reset().discount) == [1, 1]
  steps = [act(env, 0) for _ in range(4)]
  assert [s.discount[1] for s in steps] == [0.25, 0, 0.5, 1]
  assert [s.step_type[1] for s in steps] == [MID, MID, LAST, FIRST]


def test_a_reward_at_first_is_0_and_a_missing_discount_an_error():
  env = made('Paid')
  assert list(env.reset().reward) == [0, 0]
  assert list(act(env, 0, 4).reward) == [0, 0]
  env = made('Vague')
  env.reset()
  with pytest.raises(factories.FactoryError, match='Vague.*0.*discount'):
    act(env, 0, 2)


@pytest.mark.parametrize(
  'reward,match',
  (
    (np.nan, 'environment 0 is nan'),
    (-np.inf, '-inf'),
    (1e39, '1e'),
    (None, 'None'),
    ('much', 'much'),
    (np.ones(2), 'reward'),
  ),
)
def test_a_reward_that_is_no_finite_number_is_an_error(reward, match):
  env = made('Timer', env_kwargs={'reward': reward})
  env.reset()
  with pytest.raises(registry.ERRORS, match=match):
    act(env, 0)


@pytest.mark.parametrize('name', ('one', 'wrapped_one', 'Keeper'))
def test_a_factory_that_hands_out_one_object_is_refused(name):
  with pytest.raises(factories.FactoryError, match=f'{name}.*same'):
    made(name, 2)
  env = made(name, 1)
  with pytest.raises(factories.FactoryError, match='same'):
    made(name, 1)  # For another actor.
  env.close()
  made(name, 1).close()


def test_every_kind_of_factory_gets_its_seeds():
  seeds = []

  def catch_all(**kwargs):
    seeds.append(kwargs.get('seed'))
    return edge_envs.Timer(**kwargs)

  made_by(catch_all, 3)
  assert seeds == [0, 1, 2]
  calls = []

  def forwards(**kwargs):
    calls.append(kwargs)
    return edge_envs.Bound(**kwargs)  # Takes no seed.

  made_by(forwards, 2)
  assert calls[1] == {} and len(calls) == 4
  env = made('partly', 2)
  env.reset()
  assert act(env, 0).reward[0] == 2.0


def test_a_dm_env_factory_without_a_seed_is_warned_about_once(monkeypatch):
  said = []
  monkeypatch.setattr(logging, 'warning', lambda *args: said.append(args))
  factories.warn_unseeded.cache_clear()
  made('Wide'), made('Wide'), made('Fading'), made('Timer')
  assert [name for _, name in said] == ['tests.edge_envs:Wide']


def test_env_kwargs_reach_the_factory():
  env = made('Timer', env_kwargs={'reward': 4.0})
  env.reset()
  assert act(env, 0).reward[1] == 4.0
  with pytest.raises(factories.FactoryError, match="Timer.*'depth'"):
    made('Timer', env_kwargs={'depth': 4.0})
  with pytest.raises(registry.UnsupportedSettingError, match='seed'):
    made('Timer', env_kwargs={'seed': 4})


def test_an_environment_states_its_action_repeats_and_stacking():
  env = made('Tuned')
  assert (env.frames_per_step, env.num_stacked) == (6, 3)
  numbers = iter((2, 3))

  def differing():
    env = edge_envs.Timer()
    env.num_stacked = next(numbers)
    return env

  with pytest.raises(factories.FactoryError, match='0 and 1.*num_stacked'):
    made_by(differing)


@pytest.mark.parametrize(
  'name,match',
  (
    ('Unplugged', 'level7.bsp'),
    ('BeforeGymnasium', 'seed'),
    ('NoInfo', 'info'),
    ('vector_of_five', 'of 5.*--envs_per_actor'),
  ),
)
def test_faults_of_an_environment_are_sentences_that_name_it(name, match):
  with pytest.raises(factories.FactoryError, match=f'{name}.*{match}'):
    made(name).reset()


def test_an_error_in_a_step_names_the_environment_and_its_index(tmp_path):
  settings = {'path': str(tmp_path / 'log'), 'fault': 'raises'}
  env = made('Logged', 3, seed=3, env_kwargs=settings)
  env.reset()
  with pytest.raises(factories.FactoryError, match='Logged, env.* 1.*room'):
    act(env, 0, 3)


def test_an_environment_that_quits_is_an_error_and_can_be_closed():
  env = made('Quitting')
  env.reset()
  with pytest.raises(factories.FactoryError, match='Quitting.* 0.*Exit: 3'):
    act(env, 0)
  env.close()
  with pytest.raises(factories.FactoryError, match='Mine: SystemExit: 4'):
    made_by(lambda: sys.exit(4))


def test_rendering_without_a_method_is_a_sentence():
  env = made('Wide')
  env.reset()
  with pytest.raises(factories.FactoryError, match='Wide.*render'):
    env.render(0)


def test_environments_are_made_stepped_and_closed_in_one_thread():
  seen = set()
  env = made_by(lambda: edge_envs.Bound(seen), 3)
  env.reset()
  other = threading.Thread(target=act, args=(env, 0, 6))
  other.start(), other.join()
  env.close()
  assert len(seen) == 1 and seen != {threading.get_ident()}


def test_a_close_that_raises_or_hangs_is_logged(monkeypatch):
  said = []
  log = lambda text, *args: said.append(text % args)
  monkeypatch.setattr(logging, 'error', log)
  monkeypatch.setattr(closing, 'CLOSE_SECONDS', 60.0)
  closing.close_all([made('Raising')])
  for i, line in enumerate(said):
    assert f'environment {i}' in line and 'already gone' in line
  assert len(said) == 2
  monkeypatch.setattr(vectorized, 'CLOSE_SECONDS', 0.05)
  edge_envs.RELEASED.clear()
  closing.close_all([made('Stuck')])
  edge_envs.RELEASED.set()
  assert 'Stuck' in said[2] and 'takes more' in said[2]


def test_closing_a_batch_that_hangs_does_not_keep_the_others_open(monkeypatch):
  said, closed, release = [], threading.Event(), threading.Event()
  log = lambda text, *args: said.append(text % args)
  monkeypatch.setattr(logging, 'error', log)
  monkeypatch.setattr(closing, 'CLOSE_SECONDS', 0.05)

  class Hanging:
    name = 'Bog'
    close = release.wait

  class Closing:
    close = closed.set

  closing.close_all([Hanging(), Closing()])
  assert closed.wait(60) and 'Bog' in said[0]
  release.set()


def test_an_environment_that_hangs_is_named_after_the_deadline():
  edge_envs.RELEASED.clear()
  env = made('Stuck', timeout_seconds=120)
  env.reset()
  env._step_seconds = 0.2
  with pytest.raises(factories.FactoryError, match='Stuck, environment 0'):
    act(env, 0)
  edge_envs.RELEASED.set()


def test_run_steps_in_the_thread_of_the_environments_without_hand_overs(
  monkeypatch,
):
  handed_over, seen = [], set()
  run = one_thread.OneThread.run
  monkeypatch.setattr(
    one_thread.OneThread,
    'run',
    lambda self, *args: handed_over.append(args) or run(self, *args),
  )
  env = made_by(lambda: edge_envs.Bound(seen), 2)
  env.reset()
  monkeypatch.setattr(env._thread, 'call', None)  # It would hand a step over.
  steps = environment.run(env, lambda: [act(env, 0) for _ in range(5)])
  assert [s.step_type[1] for s in steps] == [MID, MID, MID, LAST, FIRST]
  assert len(seen) == len(handed_over) == 1
  with pytest.raises(ZeroDivisionError):
    environment.run(env, lambda: 1 // 0)
  here = catch.Catch(2, 0)
  thread = environment.run(here, threading.get_ident)
  assert thread == threading.get_ident()


def test_an_environment_that_hangs_in_run_is_named_after_the_deadline(
  monkeypatch,
):
  edge_envs.RELEASED.clear()
  stepping, step = threading.Event(), edge_envs.Stuck.step
  monkeypatch.setattr(
    edge_envs.Stuck, 'step', lambda *args: stepping.set() or step(*args)
  )
  clock = types.SimpleNamespace(monotonic=lambda: 99.0 * stepping.is_set())
  monkeypatch.setattr(vectorized, 'time', clock)
  env = made('Stuck', 2, timeout_seconds=120)
  env.reset()
  with pytest.raises(
    factories.FactoryError, match='Stuck, environment 0, did not step'
  ):
    environment.run(env, lambda: act(env, 0))
  edge_envs.RELEASED.set()


def test_a_deadline_is_that_of_one_step_not_of_all(monkeypatch):
  now = [0.0]
  env = made('Timer', 2, timeout_seconds=20)
  monkeypatch.setattr(vectorized.time, 'monotonic', lambda: now[0])
  monkeypatch.setattr(one_thread, '_WATCH_SECONDS', 0.001)
  watched, waited = threading.Event(), threading.Event()
  raise_if_late = env._raise_if_late

  def watch():
    raise_if_late()
    if waited.is_set():
      watched.set()

  monkeypatch.setattr(env, '_raise_if_late', watch)

  def steps():
    env.reset()
    for _ in range(5):
      act(env, 0)
      now[0] += 9.0  # Together more than 10 s.
    now[0] += 99.0  # Nor does work between the steps count.
    waited.set()
    assert watched.wait(60)
    return 'done'

  assert environment.run(env, steps) == 'done'


def test_a_step_that_has_failed_is_not_late(monkeypatch):
  env = made('Timer', timeout_seconds=120)
  monkeypatch.setattr(edge_envs.Timer, 'step', lambda self, action: 1 // 0)

  def fails():
    env.reset()
    with pytest.raises(factories.FactoryError, match='ZeroDivisionError'):
      act(env, 0)
    return env._deadline

  assert environment.run(env, fails) is None


def test_a_vector_environment_is_stepped_as_it_is():
  env = made('vector', 3)
  first = env.reset().observation
  kept = np.array(first)
  steps = [act(env, 1) for _ in range(6)]
  np.testing.assert_array_equal(first, kept)  # Its buffer is used again.
  assert [s.step_type[2] for s in steps] == [MID, MID, MID, LAST, FIRST, MID]
  assert [s.reward[0] for s in steps] == [1.5, 1.5, 1.5, 1.5, 0, 1.5]
  assert [s.discount[0] for s in steps] == [1] * 6
  for mode in ('SameStep', 'Disabled'):
    with pytest.raises(factories.FactoryError, match='NEXT_STEP'):
      made('vector', 3, env_kwargs={'mode': mode})


@pytest.mark.parametrize(
  'step,match',
  (
    (lambda actions: [][0], r'step\(\): IndexError'),
    (lambda actions: (np.zeros([2, 2]), 0.0, False), '3 values'),
    (lambda actions: (np.zeros([2, 3]), *[np.zeros(2)] * 3, {}), r'\[2, 3\]'),
    (lambda actions: (np.zeros([2, 2]), *[np.zeros(3)] * 3, {}), 'reward'),
  ),
)
def test_errors_of_a_vector_environment_name_it(step, match):
  def make(num_envs):
    env = edge_envs.vector(num_envs)
    env.step = step
    return env

  env = made_by(make)
  env.reset()
  with pytest.raises(factories.FactoryError, match=f'Mine.*{match}'):
    act(env, 0)


@pytest.mark.parametrize('name', ('Logged', 'logged'))
def test_processes_step_as_one_process_does(tmp_path, name):
  """Checks also that copies have processes and seeds; one more has no seed."""
  settings = {'path': str(tmp_path / 'log')}
  alone = made(name, 3, 7, env_kwargs=settings)
  (tmp_path / 'log').unlink()
  env = made(
    name, 3, 7, env_kwargs=settings, env_processes=True, timeout_seconds=120
  )
  for step in range(7):
    one, other = (
      act(each, step % 3) if step else each.reset() for each in (alone, env)
    )
    for a, b in zip(one, other, strict=True):
      assert a.dtype == b.dtype
      np.testing.assert_array_equal(a, b)
  env.close()
  lines = [line.split() for line in open(settings['path'])]
  seeds = [seed for _, what, seed in lines if what == 'made']
  assert sorted(seeds) == ['7', '8', '9', 'None']
  assert len({pid for pid, what, _ in lines if what == 'made'}) == 4


@pytest.mark.parametrize(
  'fault,match',
  (
    ('dies', 'environment 1.*status 5'),
    ('hangs', 'environment 1.*within'),
    ('raises', 'environment 1.*no such room'),
  ),
)
def test_a_process_that_fails_is_named(tmp_path, fault, match):
  settings = {'path': str(tmp_path / 'log'), 'fault': fault}
  env = made(
    'Logged', 3, 3, env_kwargs=settings, env_processes=True, timeout_seconds=120
  )
  env.reset()
  env._envs._step_seconds = 0.5 if fault == 'hangs' else 60
  with pytest.raises(factories.FactoryError, match=f'Logged.*{match}'):
    act(env, 0, 3)
  env.close()
  assert not any(p.is_alive() for p in env._envs._vector.processes)


def test_an_environment_that_no_process_can_make_is_named():
  for name, match in (('Unplugged', 'level7'), ('vector_of_five', 'VectorEnv')):
    with pytest.raises(factories.FactoryError, match=f'{name}.*{match}'):
      made(name, env_processes=True, timeout_seconds=120)
