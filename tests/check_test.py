"""The pipeline check passes on sound set-ups and detects every mutant."""

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
from agents import loss_interface
from agents import trajectory
from envs import registry
from envs.custom import leaves
from experiments import check
from experiments import config as config_lib
from experiments.checking import learner_view
from experiments.checking import recording_env
from experiments.checking import results as results_lib
from tests import running
from vtrace import corrections
from vtrace import losses
from vtrace import targets


@pytest.fixture(autouse=True)
def fast_check(monkeypatch):
  """Limits checks to one device and skips the second that measures speed."""
  running.see_one_device(monkeypatch)
  monkeypatch.setattr(check, '_steps_per_second', lambda env: 0.0)


def statuses(env='tests.own_envs:Walk', **settings):
  """Returns {name: status} of a check of a small run."""
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
  unseen = {'core state carried', 'core state reset'}
  if settings.get('use_lstm', True):
    unseen = set()
  assert {k for k, v in found.items() if v == results_lib.NOT_SEEN} == unseen
  assert results_lib.FAIL not in found.values()


ORIGINAL_TRANSITIONS = trajectory.transitions
ORIGINAL_STACK = batcher.stack


def shifted(field):
  """Returns a mutant that reads `field` of row t instead of row t + 1."""

  def transitions(rows):
    early = getattr(rows.timestep, field)[:-1]
    return ORIGINAL_TRANSITIONS(rows)._replace(**{field + 's': early})

  return transitions


def boundary_weighted(rows):
  """Unmasks the step from one episode to the next."""
  steps = ORIGINAL_TRANSITIONS(rows)
  return steps._replace(mask=steps.mask | True)


def truncated_as_terminated(rows):
  """Bootstraps truncated episodes with 0, as if they had terminated."""
  last = rows.timestep.step_type[1:] == dm_env.StepType.LAST
  steps = ORIGINAL_TRANSITIONS(rows)
  return steps._replace(discounts=steps.discounts * ~last)


def actions_of_the_previous_step(rows):
  steps = ORIGINAL_TRANSITIONS(rows)
  return steps._replace(actions=rows.action[:-1])


@pytest.mark.parametrize(
  'mutant,expected',
  (
    (shifted('reward'), {'rewards', 'targets'}),
    (shifted('discount'), {'discounts', 'terminations'}),
    (boundary_weighted, {'resets', 'targets'}),
    (truncated_as_terminated, {'discounts', 'truncations'}),
    (actions_of_the_previous_step, {'weights'}),
  ),
)
def test_a_mutant_of_the_transitions_is_detected(mutant, expected, monkeypatch):
  monkeypatch.setattr(trajectory, 'transitions', mutant)
  assert failing(use_lstm=False) >= expected


@pytest.mark.slow
def test_a_core_state_that_is_not_reset_is_detected(monkeypatch):
  class NeverReset(hk.ResetCore):
    def __call__(self, inputs, state):
      features, should_reset = inputs
      return super().__call__((features, should_reset & False), state)

  monkeypatch.setattr(hk, 'ResetCore', NeverReset)
  assert failing() >= {'core state reset'}


@pytest.mark.slow
def test_a_zeroed_initial_core_state_is_detected(monkeypatch):
  original = loss_interface.arguments

  def with_zero_core(agent, params, unrolls, **settings):
    zeros = jax.tree.map(lambda x: 0 * x, unrolls.core_state)
    unrolls = unrolls._replace(core_state=zeros)
    return original(agent, params, unrolls, **settings)

  monkeypatch.setattr(loss_interface, 'arguments', with_zero_core)
  assert failing() >= {'weights'}


def test_recomputed_behaviour_log_probs_are_detected(monkeypatch):
  original = loss_interface.arguments

  def recomputed(*args, **settings):
    arguments = original(*args, **settings)
    log_pi = jax.lax.stop_gradient(arguments['target_log_probs'])
    return arguments | dict(behaviour_log_probs=log_pi)

  monkeypatch.setattr(loss_interface, 'arguments', recomputed)
  assert failing(use_lstm=False) == {'behaviour'}


def stack_with(change):
  """Returns a `batcher.stack` that changes the rows before it stacks them."""

  def stack(rollouts, num_devices, replayed=()):
    changed = [
      rollout._replace(
        trajectory=rollout.trajectory._replace(
          rows=change(rollout.trajectory.rows)
        )
      )
      for rollout in rollouts
    ]
    return ORIGINAL_STACK(changed, num_devices, replayed)

  return stack


def late_observations(rows):
  late = jax.tree.map(lambda x: jnp.roll(x, 1, 0), rows.timestep.observation)
  return rows._replace(timestep=rows.timestep._replace(observation=late))


def swapped_step_types(rows):
  types = rows.timestep.step_type[:, ::-1]
  return rows._replace(timestep=rows.timestep._replace(step_type=types))


def late_actions(rows):
  return rows._replace(action=jnp.roll(rows.action, 1, 0))


@pytest.mark.parametrize(
  'change,expected',
  (
    (late_observations, 'observations'),
    (swapped_step_types, 'step types'),
    (late_actions, 'actions'),
  ),
)
def test_rows_changed_before_stacking_are_detected(
  change, expected, monkeypatch
):
  monkeypatch.setattr(batcher, 'stack', stack_with(change))
  assert expected in failing(use_lstm=False)


@pytest.mark.slow
def test_a_core_state_lost_between_unrolls_is_detected(monkeypatch):
  def stack(rollouts, *args):
    zeroed = [
      r._replace(
        trajectory=r.trajectory._replace(
          core_state=jax.tree.map(jnp.zeros_like, r.trajectory.core_state)
        )
      )
      for r in rollouts
    ]
    return ORIGINAL_STACK(zeroed, *args)

  monkeypatch.setattr(batcher, 'stack', stack)
  assert failing() >= {'core state carried'}


def doubled_policy_gradient(monkeypatch):
  original = losses.policy_gradient_loss
  monkeypatch.setattr(
    losses, 'policy_gradient_loss', lambda *args: 2 * original(*args)
  )


def miscounted_returns(monkeypatch):
  original = episodes.accumulate

  def accumulate(*args):
    totals, returns, lengths = original(*args)
    return totals, returns + 1, lengths

  monkeypatch.setattr(episodes, 'accumulate', accumulate)


def miscounted_frames(monkeypatch):
  original = actor._num_transitions
  monkeypatch.setattr(actor, '_num_transitions', lambda t: original(t) + 1)


def test_a_custom_correction_is_checked_against_its_own_weights(monkeypatch):
  half = corrections.Correction(
    'half',
    lambda log_rhos: 0.5 * jnp.exp(log_rhos),
    lambda log_rhos, _: 0.25 * jnp.exp(log_rhos),
  )
  monkeypatch.setitem(corrections.CORRECTIONS, 'none', half)
  assert not failing(use_lstm=False, correction='none')


def test_ignored_thresholds_are_detected(monkeypatch):
  monkeypatch.setattr(targets, 'clip', lambda weights, threshold: weights)
  thresholds = dict(
    clip_rho_threshold=0.8, clip_c_threshold=0.7, clip_pg_rho_threshold=0.6
  )
  found = failing(use_lstm=False, **thresholds)
  assert found >= {'targets', 'advantages', 'terminations'}


def half_a_batch(monkeypatch):
  def accumulate(gradient, params, unrolls, unrolls_per_pass):
    del unrolls_per_pass
    half = unrolls.rows.action.shape[1] // 2
    first_half = lambda axis, x: jax.lax.slice_in_dim(x, 0, half, axis=axis)
    return gradient(params, trajectory.map_unrolls(first_half, unrolls))

  monkeypatch.setattr(gradient_accumulation, 'accumulate', accumulate)


@pytest.mark.parametrize(
  'mutate,expected',
  (
    (doubled_policy_gradient, 'advantages'),
    (miscounted_returns, 'episode returns'),
    (miscounted_frames, 'frames'),
    (half_a_batch, 'loss'),
  ),
)
def test_a_wrong_loss_or_count_is_detected(mutate, expected, monkeypatch):
  mutate(monkeypatch)
  assert failing(use_lstm=False) == {expected}


class FaultyEnv:
  """An environment whose timesteps are changed by `corrupt`."""

  def __init__(self, env, corrupt):
    self._env, self._corrupt = env, corrupt

  def __getattr__(self, name):
    return getattr(self._env, name)

  def reset(self):
    return self._corrupt(self._env.reset())

  def step(self, actions):
    return self._corrupt(self._env.step(actions))


def overwritten():
  """Returns a fault: every observation is written to the same array."""
  buffer = {}

  def corrupt(timestep):
    place = timestep.observation['place']
    buffer.setdefault('place', np.empty_like(place))[:] = place
    return timestep._replace(observation=buffer)

  return corrupt


def of_wrong_dtype(timestep):
  place = timestep.observation['place'].astype(np.float64)
  return timestep._replace(observation={'place': place})


def out_of_bounds(timestep):
  place = timestep.observation['place'] + 100
  return timestep._replace(observation={'place': place})


def rewarded_at_reset(timestep):
  return timestep._replace(reward=timestep.reward + 1)


def never_last(timestep):
  return timestep._replace(step_type=np.minimum(timestep.step_type, 1))


@pytest.mark.parametrize(
  'corrupt,words',
  (
    (overwritten(), ('overwritten',)),
    (of_wrong_dtype, ('float64[2]', 'float32[2]')),
    (out_of_bounds, ('bounds',)),
    (rewarded_at_reset, ('FIRST', 'reward')),
    (never_last, ('FIRST', 'LAST')),
  ),
)
def test_an_env_that_breaks_the_conventions_is_reported(corrupt, words):
  env = FaultyEnv(registry.make('tests.own_envs:Walk', 2, 0), corrupt)
  recorded = recording_env.RecordingEnv(env)
  recording_env.play(recorded, 100)
  assert all(word in recorded.faults[0] for word in words)


def test_an_env_that_ignores_its_seed_fails_the_seed_check():
  make = lambda seed: registry.make('tests.own_envs:Unseeded', 4, seed)
  same, _ = recording_env.is_repeatable(make, 50)
  assert not same
  assert results_lib.seed_result(same, True).status == results_lib.FAIL


def test_the_worst_deviation_is_reported_with_its_place():
  tally = results_lib.Tally('f32')
  deviations = np.zeros([3, 4])
  tally.add({'rewards': deviations}, 'update 1')
  deviations = deviations.copy()
  deviations[2, 1], deviations[0, 0] = 0.5, 0.25
  tally.add({'rewards': deviations, 'weights': np.array([1e-4])}, 'update 2')
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
  'settings,match',
  (
    (dict(env='tests.own_envs:Dise'), "'Dise'"),
    (dict(env='tests.own_envs:Wild'), 'action space'),
    (dict(env='tests.own_envs:OldStep'), '4 values'),
    (dict(envs_per_actor=-1), 'envs_per_actor=-1'),
  ),
)
def test_invalid_settings_raise_config_error(settings, match):
  with pytest.raises(config_lib.ConfigError, match=match):
    statuses(**settings)


def test_an_env_that_ignores_its_seed_passes_the_other_checks():
  found = statuses('tests.own_envs:Unseeded', use_lstm=False)
  assert (
    found['seed'] == results_lib.FAIL and found['rewards'] == results_lib.PASS
  )


def test_a_reward_at_first_is_dropped_and_a_missing_one_an_error():
  recorded = recording_env.RecordingEnv(
    registry.make('tests.own_envs:Paid', 2, 0)
  )
  recording_env.play(recorded, 20)
  assert not recorded.faults
  with pytest.raises(registry.ERRORS, match='Unpaid.*reward.*None'):
    recording_env.play(registry.make('tests.own_envs:Unpaid', 2, 0), 20)


@pytest.mark.parametrize('name', ('Shifted', 'Timer', 'vector'))
def test_observations_are_compared_with_what_the_environment_gave(
  name, monkeypatch
):
  def faults():
    env = registry.make(f'tests.edge_envs:{name}', 2, 0, records=True)
    recorded = recording_env.RecordingEnv(env)
    recording_env.play(recorded, 10)
    assert env.checksums is not None
    env.close()
    return recorded.faults

  assert not faults()
  converter = leaves.converter
  changed = lambda *args: (
    lambda value: jax.tree.map(
      lambda x: np.where(x == 1, 0, x).astype(x.dtype), converter(*args)(value)
    )
  )
  monkeypatch.setattr(leaves, 'converter', changed)
  assert 'what the environment gave' in faults()[0]


@pytest.mark.parametrize(
  'x', (0.0, -1.0, 2.0**24, -(2.0**25), 3e38, np.inf, 255, 2**24)
)
def test_another_core_state_differs_in_every_element(x):
  x = jnp.full(3, x)
  assert np.all(learner_view._perturb({'h': x})['h'] != x)


def test_the_output_says_what_the_check_cannot_see(capsys):
  check.report(config_lib.Config(), check.Report([], 3, 600, 50.0))
  printed = ' '.join(capsys.readouterr().out.split())
  for unseen in ('rewards doubled', 'observations late', 'time limit'):
    assert unseen in printed.partition('Not checked:')[2]
