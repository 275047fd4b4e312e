"""The pipeline check: a sound set-up passes, every mutant of it is caught."""

import subprocess
import sys

import dm_env
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import actor
from agents import batcher
from agents import episodes
from agents import gradient_accumulation
from agents import learner
from agents import trajectory
from envs import registry
from experiments import check
from experiments import config as config_lib
from experiments.checking import recording_env
from experiments.checking import results as results_lib
from tests import running
from vtrace import corrections
from vtrace import losses
from vtrace import targets


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
  running.see_one_device(monkeypatch)


def statuses(env='tests.own_envs:Walk', **settings):
  """{name: status} of a check of a small run."""
  small = dict(
    env=env,
    torso='mlp',
    use_lstm=True,
    num_actors=2,
    envs_per_actor=4,
    batch_size=8,
    unroll_length=7,
  )
  found = check.check(config_lib.Config(**(small | settings)), seconds=300)
  return {result.name: result.status for result in found.results}


def failing(**settings):
  return {k for k, v in statuses(**settings).items() if v == results_lib.FAIL}


@pytest.mark.parametrize(
  'settings',
  (
    {},
    dict(
      correction='one_step',
      lambda_=0.8,
      discount=0.9,
      reward_clipping='none',
      use_lstm=False,
      num_actors=3,
      batch_size=4,
    ),
    dict(
      correction='epsilon',
      unrolls_per_pass=2,
      baseline_cost=0.0,
      use_lstm=False,
    ),
    dict(
      clip_rho_threshold=0.8,
      clip_c_threshold=0.7,
      clip_pg_rho_threshold=0.6,
      lag=3,
      replay_fraction=0.5,
      use_lstm=False,
    ),
  ),
  ids=str,
)
def test_a_sound_set_up_passes(settings):
  found = statuses(**settings)
  assert list(found) == list(results_lib.CHECKS)
  unseen = {'core goes on', 'core begins anew'}
  if settings.get('use_lstm', True):
    unseen = set()
  assert {k for k, v in found.items() if v == results_lib.NOT_SEEN} == unseen
  assert results_lib.FAIL not in found.values()


RIGHT = trajectory.transitions


def shifted(field):
  """Transitions whose step t has what came with x_t, not what followed it."""

  def transitions(rows):
    before = getattr(rows.timestep, field)[:-1]
    return RIGHT(rows)._replace(**{field + 's': before})

  return transitions


def boundary_weighted(rows):
  """The step to the next episode's first row counts like any other."""
  steps = RIGHT(rows)
  return steps._replace(mask=steps.mask | True)


def truncated_as_terminated(rows):
  """Where an episode was cut off nothing is bootstrapped."""
  last = rows.timestep.step_type[1:] == dm_env.StepType.LAST
  steps = RIGHT(rows)
  return steps._replace(discounts=steps.discounts * ~last)


def actions_of_the_next_step(rows):
  steps = RIGHT(rows)
  return steps._replace(actions=rows.action[:-1])


@pytest.mark.parametrize(
  'mutant,caught',
  (
    (shifted('reward'), {'rewards', 'targets'}),
    (shifted('discount'), {'discounts', 'terminations'}),
    (boundary_weighted, {'resets', 'targets'}),
    (truncated_as_terminated, {'discounts', 'truncations'}),
    (actions_of_the_next_step, {'weights'}),
  ),
)
def test_a_mutant_of_the_transitions_is_caught(mutant, caught, monkeypatch):
  monkeypatch.setattr(trajectory, 'transitions', mutant)
  assert failing(use_lstm=False) >= caught


def test_a_core_that_is_not_reset_is_caught(monkeypatch):
  class NeverReset(hk.ResetCore):
    def __call__(self, inputs, state):
      features, should_reset = inputs
      return super().__call__((features, should_reset & False), state)

  monkeypatch.setattr(hk, 'ResetCore', NeverReset)
  assert failing() >= {'core begins anew'}


def test_a_core_that_enters_anew_is_caught(monkeypatch):
  right = learner.loss_arguments

  def forgetful(agent, params, of, **settings):
    zeros = jax.tree.map(lambda x: 0 * x, of.core_state)
    return right(agent, params, of._replace(core_state=zeros), **settings)

  monkeypatch.setattr(learner, 'loss_arguments', forgetful)
  assert failing() >= {'weights'}


def test_recomputed_behaviour_is_caught(monkeypatch):
  right = learner.loss_arguments

  def recomputed(*args, **settings):
    arguments = right(*args, **settings)
    log_pi = jax.lax.stop_gradient(arguments['target_log_probs'])
    return arguments | dict(behaviour_log_probs=log_pi)

  monkeypatch.setattr(learner, 'loss_arguments', recomputed)
  assert failing(use_lstm=False) == {'behaviour'}


def of_rows(change):
  """Batches whose rows were changed on their way to the learner."""

  def stack(rollouts, num_devices, replayed=()):
    changed = [
      rollout._replace(
        trajectory=rollout.trajectory._replace(
          rows=change(rollout.trajectory.rows)
        )
      )
      for rollout in rollouts
    ]
    return STACK(changed, num_devices, replayed)

  return stack


def observed_late(rows):
  late = jax.tree.map(lambda x: jnp.roll(x, 1, 0), rows.timestep.observation)
  return rows._replace(timestep=rows.timestep._replace(observation=late))


def swapped(rows):
  types = rows.timestep.step_type[:, ::-1]
  return rows._replace(timestep=rows.timestep._replace(step_type=types))


def acted_late(rows):
  return rows._replace(action=jnp.roll(rows.action, 1, 0))


@pytest.mark.parametrize(
  'change,caught',
  (
    (observed_late, 'observations'),
    (swapped, 'step types'),
    (acted_late, 'actions'),
  ),
)
def test_rows_changed_on_their_way_are_caught(change, caught, monkeypatch):
  monkeypatch.setattr(batcher, 'stack', of_rows(change))
  assert caught in failing(use_lstm=False)


@pytest.mark.slow
def test_a_core_state_lost_between_unrolls_is_caught(monkeypatch):
  def stack(rollouts, *args):
    forgotten = [
      r._replace(
        trajectory=r.trajectory._replace(
          core_state=jax.tree.map(jnp.zeros_like, r.trajectory.core_state)
        )
      )
      for r in rollouts
    ]
    return STACK(forgotten, *args)

  monkeypatch.setattr(batcher, 'stack', stack)
  assert failing() >= {'core goes on'}


def doubled_policy_gradient(monkeypatch):
  right = losses.policy_gradient_loss
  monkeypatch.setattr(
    losses, 'policy_gradient_loss', lambda *args: 2 * right(*args)
  )


def miscounted_returns(monkeypatch):
  right = episodes.accumulate

  def accumulate(*args):
    totals, returns, lengths = right(*args)
    return totals, returns + 1, lengths

  monkeypatch.setattr(episodes, 'accumulate', accumulate)


def miscounted_frames(monkeypatch):
  right = actor._num_transitions
  monkeypatch.setattr(actor, '_num_transitions', lambda t: right(t) + 1)


def test_a_correction_of_ones_own_is_judged_by_its_own_row(monkeypatch):
  half = corrections.Correction(
    'half',
    lambda log_rhos: 0.5 * jnp.exp(log_rhos),
    lambda log_rhos, _: 0.25 * jnp.exp(log_rhos),
  )
  monkeypatch.setitem(corrections.CORRECTIONS, 'none', half)
  assert not failing(use_lstm=False, correction='none')


def test_thresholds_that_do_nothing_are_caught(monkeypatch):
  monkeypatch.setattr(targets, 'clip', lambda weights, threshold: weights)
  thresholds = dict(
    clip_rho_threshold=0.8, clip_c_threshold=0.7, clip_pg_rho_threshold=0.6
  )
  found = failing(use_lstm=False, **thresholds)
  assert found >= {'targets', 'advantages', 'terminations'}


def half_a_batch(monkeypatch):
  def accumulate(gradient, params, of, unrolls_per_pass):
    del unrolls_per_pass
    half = of.rows.action.shape[1] // 2
    cut = lambda axis, x: jax.lax.slice_in_dim(x, 0, half, axis=axis)
    return gradient(params, trajectory.map_unrolls(cut, of))

  monkeypatch.setattr(gradient_accumulation, 'accumulate', accumulate)


@pytest.mark.parametrize(
  'mutate,caught',
  (
    (doubled_policy_gradient, 'advantages'),
    (miscounted_returns, 'episode returns'),
    (miscounted_frames, 'frames'),
    (half_a_batch, 'loss'),
  ),
)
def test_what_is_learnt_or_counted_wrongly_is_caught(
  mutate, caught, monkeypatch
):
  mutate(monkeypatch)
  assert failing(use_lstm=False) == {caught}


STACK = batcher.stack


class Spoilt:
  """An environment of one's own, one thing about it not as it should be."""

  def __init__(self, env, spoil):
    self._env, self._spoil = env, spoil

  def __getattr__(self, name):
    return getattr(self._env, name)

  def reset(self):
    return self._spoil(self._env.reset())

  def step(self, actions):
    return self._spoil(self._env.step(actions))


def overwritten():
  buffer = {}

  def spoil(timestep):
    place = timestep.observation['place']
    buffer.setdefault('place', np.empty_like(place))[:] = place
    return timestep._replace(observation=buffer)

  return spoil


def of_another_type(timestep):
  place = timestep.observation['place'].astype(np.float64)
  return timestep._replace(observation={'place': place})


def out_of_bounds(timestep):
  place = timestep.observation['place'] + 100
  return timestep._replace(observation={'place': place})


def rewarded_at_first(timestep):
  return timestep._replace(reward=timestep.reward + 1)


def never_last(timestep):
  return timestep._replace(step_type=np.minimum(timestep.step_type, 1))


@pytest.mark.parametrize(
  'spoil,fault',
  (
    (overwritten(), 'overwritten'),
    (of_another_type, r'observations are float64\[2\], their spec is float32'),
    (out_of_bounds, 'outside the bounds'),
    (rewarded_at_first, 'FIRST has a reward'),
    (never_last, 'FIRST does not follow LAST'),
  ),
)
def test_an_env_that_breaks_the_conventions_is_told(spoil, fault):
  env = Spoilt(registry.make('tests.own_envs:Walk', 2, 0), spoil)
  watched = recording_env.RecordingEnv(env)
  recording_env.play(watched, 100)
  assert watched.faults
  with pytest.raises(AssertionError, match=fault):
    raise AssertionError(watched.faults[0])


def test_an_env_without_a_seed_is_told():
  make = lambda seed: registry.make('tests.own_envs:Unseeded', 4, seed)
  same, _ = recording_env.is_repeatable(make, 50)
  assert not same
  assert results_lib.seed_result(same, True).status == results_lib.FAIL


def test_the_worst_is_told_with_its_place():
  tally = results_lib.Tally('f32')
  apart = np.zeros([3, 4])
  tally.add({'rewards': apart}, 'update 1')
  apart = apart.copy()
  apart[2, 1], apart[0, 0] = 0.5, 0.25
  tally.add({'rewards': apart, 'weights': np.array([1e-4])}, 'update 2')
  tally.add({'frames': np.array([np.nan])}, 'the end')
  found = {v.name: v for v in tally.results()}
  assert found['rewards'].status == results_lib.FAIL
  for part in ('24', '0.5', 'update 2', 'step 2', 'environment 1'):
    assert part in found['rewards'].evidence
  assert found['weights'].status == results_lib.PASS
  assert found['frames'].status == results_lib.FAIL
  assert found['discounts'].status == results_lib.NOT_SEEN


@pytest.mark.slow
def test_the_script_prints_a_table_and_its_status():
  command = [sys.executable, '-m', 'experiments.check', '--seconds=3']
  done = subprocess.run(
    [*command, '--env=tests.own_envs:Dice'], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  for name in results_lib.CHECKS:
    assert name in done.stdout
  assert 'FAIL' not in done.stdout and 'agent steps/s' in done.stdout


@pytest.mark.parametrize(
  'settings,sentence',
  (
    (dict(env='tests.own_envs:Dise'), 'no function or class'),
    (dict(env='tests.own_envs:Wild'), 'Unsupported action space'),
    (dict(env='tests.own_envs:OldStep'), 'step gives 4 values'),
    (dict(envs_per_actor=-1), 'envs_per_actor=-1 is not in'),
  ),
)
def test_what_cannot_be_checked_is_refused(settings, sentence):
  with pytest.raises(config_lib.ConfigError, match=sentence):
    statuses(**settings)


def test_an_env_that_heeds_no_seed_is_checked_all_the_same():
  found = statuses('tests.own_envs:Unseeded', use_lstm=False)
  assert (
    found['seed'] == results_lib.FAIL and found['rewards'] == results_lib.PASS
  )


@pytest.mark.parametrize(
  'name,fault',
  (('Paid', 'FIRST has a reward'), ('Unpaid', 'rewards are not finite')),
)
def test_rewards_that_should_not_be_or_are_missing_are_told(name, fault):
  watched = recording_env.RecordingEnv(
    registry.make(f'tests.own_envs:{name}', 2, 0)
  )
  recording_env.play(watched, 20)
  assert fault in watched.faults[0]
