"""Tests of evaluating a checkpoint: results, video and errors."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import warnings

import imageio.v2
import jax
import numpy as np
import pytest

from agents import actor
from agents import evaluator
from envs import registry
from experiments import config as config_lib
from experiments import evaluate
from experiments.training import builders
from experiments.training import evaluation
from experiments.training.checkpoints import checkpoint

ROOT = pathlib.Path(__file__).parent.parent
SMALL = dict(envs_per_actor=4, batch_size=4)


def write_run(logdir, change=lambda params: params, **settings):
  """Writes a log directory with the checkpoints of updates 3 and 7."""
  config = config_lib.from_preset('catch', **SMALL | settings)
  agent = make_agent(config)
  logdir.mkdir()
  (logdir / 'config.json').write_text(json.dumps(dataclasses.asdict(config)))
  with contextlib.closing(checkpoint.Writer(logdir / 'checkpoints')) as writer:
    for step in (3, 7):
      params = change(jax.jit(agent.init)(jax.random.key(step)))
      tree = {
        'train_state': {'params': params},
        'statistics': {'num_frames': 100 * step},
      }
      writer.save(step, lambda tree=tree: tree)
  return logdir


def make_agent(config):
  return builders.make_agent(config, registry.make(config.env, 1, 0))


@pytest.fixture(scope='module')
def catch_run(tmp_path_factory):
  return write_run(tmp_path_factory.mktemp('catch') / 'run')


@pytest.fixture(scope='module')
def breakout_run(tmp_path_factory):
  return write_run(
    tmp_path_factory.mktemp('breakout') / 'run', env='Breakout-v5', torso='mlp'
  )


@pytest.fixture(scope='module')
def uniform_run(tmp_path_factory):
  """Writes a run with parameters of 0: a uniform policy with mode 0."""
  return write_run(
    tmp_path_factory.mktemp('uniform') / 'run',
    lambda params: jax.tree.map(np.zeros_like, params),
  )


@pytest.fixture(scope='module')
def lstm_run(tmp_path_factory):
  return write_run(tmp_path_factory.mktemp('lstm') / 'run', use_lstm=True)


@pytest.fixture
def run(catch_run, tmp_path):
  """Copies `catch_run`, so that a test can damage it."""
  return shutil.copytree(catch_run, tmp_path / 'run')


def evaluate_run(logdir, **options):
  options = dict(num_episodes=20, num_envs=8) | options
  return evaluation.evaluate(evaluation.Options(logdir=str(logdir), **options))


def command(*args):
  environment = os.environ | {'PYTHONPATH': str(ROOT)}
  return subprocess.run(
    [sys.executable, '-m', 'experiments.evaluate', *args],
    cwd=ROOT,
    text=True,
    capture_output=True,
    env=environment,
    timeout=120,
    check=False,
  )


def contents(directory):
  return {
    path.relative_to(directory): (path.stat().st_mtime_ns, path.is_file())
    for path in directory.rglob('*')
  }


def test_the_command_writes_results_and_a_video(run):
  (run / 'evaluation.json').write_text('an older one')
  before = contents(run / 'checkpoints')
  result = command(
    f'--logdir={run}',
    '--num_episodes=20',
    '--num_envs=8',
    '--seed=4',
    f'--video={run / "seen.gif"}',
    '--video_episodes=4',
  )
  assert result.returncode == 0, result.stderr
  assert not result.stderr
  record = json.loads((run / 'evaluation.json').read_text())
  returns = record.pop('episode_returns')
  assert record == {
    'env': 'Catch',
    'num_updates': 7,
    'num_frames': 700,
    'num_episodes': 20,
    'num_envs': 8,
    'greedy': False,
    'noop_max': None,
    'seed': 4,
    'mean': statistics.mean(returns),
    'median': statistics.median(returns),
    'standard_error': pytest.approx(statistics.stdev(returns) / 20**0.5),
    'episode_lengths_in_steps': [9] * 20,
  }
  assert set(returns) == {-1.0, 1.0}
  for text in (
    '700 frames',
    '20 episodes',
    *(f'{record[x]:.2f}' for x in ('mean', 'median', 'standard_error')),
    f'{run / "evaluation.json"}',
    f'{run / "seen.gif"}',
  ):
    assert text in result.stdout
  frames = list(imageio.v2.get_reader(run / 'seen.gif'))
  assert len(frames) == 4 * 10  # Nine steps and a reset.
  balls = [frame[16::32, 16::32, 0].max(axis=1).argmax() for frame in frames]
  assert balls == [*range(10)] * 4
  # Environment 0 plays 3 of the 20 episodes, and a fourth for the video. The
  # video does not change the results.
  plain = evaluate_run(run, seed=4)
  assert plain['episode_returns'] == returns
  assert contents(run / 'checkpoints') == before
  assert {path.name for path in run.iterdir()} == {
    'checkpoints',
    'config.json',
    'evaluation.json',
    'seen.gif',
  }


@pytest.mark.parametrize(
  'flags,text',
  (
    ([], '--logdir'),
    (['--logdir=run', '--noop_max=0'], '--noop_max=0'),
  ),
  ids=str,
)
def test_invalid_flags_exit_with_status_2_and_one_line(flags, text):
  result = command(*flags)
  assert result.returncode == 2
  lines = result.stderr.strip().splitlines()
  assert len(lines) == 1 and text in lines[0], result.stderr
  assert not result.stdout


def test_help_shows_every_flag():
  result = command('--help')
  assert result.returncode == 0
  for field in dataclasses.fields(evaluation.Options):
    assert f'{field.name}:' in result.stdout


def test_an_interrupted_evaluation_exits_with_status_130(monkeypatch, capsys):
  def interrupted(options):
    raise KeyboardInterrupt

  monkeypatch.setattr(evaluation, 'evaluate', interrupted)
  monkeypatch.setattr(evaluate, 'options_from_flags', lambda: None)
  with pytest.raises(SystemExit) as info:
    evaluate.main()
  assert info.value.code == 130
  assert 'Interrupted' in capsys.readouterr().err


@pytest.mark.parametrize('step,greedy', ((3, False), (None, True)))
def test_the_agent_of_the_checkpoint_plays(lstm_run, step, greedy):
  record = evaluate_run(lstm_run, step=step, greedy=greedy)
  assert record['num_updates'] == (step or 7)
  assert record['num_frames'] == 100 * (step or 7)
  config = config_lib.Config(
    **json.loads((lstm_run / 'config.json').read_text())
  )
  agent = make_agent(config)
  if greedy:
    agent = agent._replace(step=agent.greedy_step)
  episodes = evaluator.play(
    evaluation.make_env('Catch', evaluation.Options(num_envs=8), {}),
    actor.make_act(agent),
    jax.jit(agent.init)(jax.random.key(step or 7)),
    core_state=agent.initial_state(8),
    key=jax.random.fold_in(jax.random.key(1), 1),
    num_episodes=20,
  )
  assert record['episode_returns'] == episodes.returns.tolist()


def test_actions_are_sampled_unless_greedy(uniform_run):
  many = dict(num_episodes=400, num_envs=32)
  greedy = evaluate_run(uniform_run, greedy=True, **many)
  assert greedy['greedy']
  # The paddle always moves left and catches a fifth of the balls.
  assert greedy['mean'] == pytest.approx(-0.6, abs=0.12)
  env = evaluation.make_env('Catch', evaluation.Options(), {})
  left = env.reset().observation[:, 0, 0] == 1
  first = np.cumsum([0, *[13] * 16, *[12] * 15])  # By environment.
  np.testing.assert_array_equal(
    np.array(greedy['episode_returns'])[first], np.where(left, 1, -1)
  )
  sampled = evaluate_run(uniform_run, **many)
  assert not sampled['greedy']
  assert (
    np.sum(np.not_equal(*(r['episode_returns'] for r in (greedy, sampled))))
    > 40
  )


def test_results_are_reproducible_from_the_seed(uniform_run):
  one, same, other = (
    evaluate_run(uniform_run, seed=seed)['episode_returns']
    for seed in (1, 1, 2)
  )
  assert one == same != other


def test_the_key_differs_from_the_key_of_training(monkeypatch, uniform_run):
  keys = []
  play = evaluator.play

  def spy(*args, key, **kwargs):
    keys.append(key)
    return play(*args, key=key, **kwargs)

  monkeypatch.setattr(evaluator, 'play', spy)
  evaluate_run(uniform_run, seed=3)
  seed_key = jax.random.key(3)  # The key of training.
  assert not np.array_equal(
    jax.random.key_data(keys[0]), jax.random.key_data(seed_key)
  )


def test_env_seeds_differ_from_those_of_training_and_of_other_runs(monkeypatch):
  seeds = []
  monkeypatch.setattr(
    registry, 'make', lambda env_id, num_envs, seed, **_: seeds.append(seed)
  )
  for seed in range(20):
    builders.make_envs(config_lib.from_preset('catch', seed=seed))
    evaluation.make_env('Catch', evaluation.Options(seed=seed), {})
  # EnvPool gives environment i the seed `seed + i`.
  assert np.min(np.diff(sorted(seeds))) > 32


def test_one_episode_has_no_standard_error(catch_run, capsys):
  record = evaluate_run(catch_run, num_episodes=1)
  assert record['standard_error'] is None and record['num_envs'] == 1
  text = (catch_run / 'evaluation.json').read_text()
  assert json.loads(text, parse_constant=pytest.fail) == record
  evaluate.report(evaluation.Options(logdir='run'), record)
  assert 'unknown' in capsys.readouterr().out


@pytest.mark.parametrize('given,expected', ((None, 30), (5, 5)))
def test_games_are_complete_and_begin_with_noops(
  breakout_run, monkeypatch, given, expected
):
  make, envs = registry.make, []

  def make_short_game(*args, **settings):
    envs.append(make(*args, **settings, max_episode_steps=20))
    pool = envs[0]._pool.config
    assert pool['noop_max'] == expected and not pool['reward_clip']
    return envs[0]

  monkeypatch.setattr(registry, 'make', make_short_game)
  record = evaluate_run(breakout_run, num_episodes=2, noop_max=given)
  assert record['noop_max'] == expected
  assert record['episode_lengths_in_steps'] == [20, 20]
  assert not envs[0]._life_loss_ends_episode
  assert envs[0]._pool is None  # `evaluate` closed it.


def test_a_video_shows_an_episode_of_an_envpool_env(tmp_path):
  logdir = write_run(tmp_path / 'run', env='CartPole-v1')
  path = tmp_path / 'cart.mp4'
  with warnings.catch_warnings(record=True) as logged:
    record = evaluate_run(logdir, num_episodes=3, video=str(path))
  # A fork could deadlock with JAX's threads.
  assert not any('fork' in str(warning.message) for warning in logged)
  with imageio.v2.get_reader(path) as reader:
    assert reader.get_meta_data()['fps'] == 15
    frames = [frame.astype(int) for frame in reader]
  assert len(frames) == record['episode_lengths_in_steps'][0] + 1
  assert frames[0].shape == (400, 600, 3)
  assert all(frame.min() < 20 and frame.max() > 240 for frame in frames)
  # The pole falls.
  assert np.mean(frames[0] != frames[-1]) > 0.005


def assert_rejected(run, match, **options):
  """Checks for a ConfigError that leaves the files of `run` unchanged."""
  before = contents(run)
  with pytest.raises(config_lib.ConfigError, match=match):
    evaluate_run(run, **options)
  assert contents(run).keys() == before.keys()
  if 'evaluation.json' in before:
    assert contents(run)['evaluation.json'] == before['evaluation.json']


@pytest.mark.parametrize(
  'options,match',
  (
    (dict(step=5), '--step=5.*3, 7'),
    (dict(noop_max=3), '--noop_max.*Catch'),
    (dict(video='a.avi'), 'a.avi.*.gif.*.mp4'),
    (dict(video='video'), 'video.*.gif.*.mp4'),
    (dict(video='/no/such/folder/a.gif'), '/no/such/folder.*No such file'),
    (dict(video='a_folder.gif'), 'a_folder.gif.*Is a directory'),
  ),
  ids=str,
)
def test_invalid_options_are_rejected_before_playing(
  run, options, match, monkeypatch
):
  (run / 'a_folder.gif').mkdir()
  (run / 'evaluation.json').write_text('an older one')
  monkeypatch.chdir(run)
  monkeypatch.setattr(evaluator, 'play', lambda *_, **__: pytest.fail('plays'))
  assert_rejected(run, match, **options)


@pytest.mark.parametrize(
  'text,match',
  (
    ('{"env": "Catch", "nonsense": 1}', 'nonsense'),
    ('[1]', 'config.json'),
    ('{"env', 'config.json'),
    ('{"env": "Pnog-v5"}', 'Pong-v5'),
    ('{"env": "Catch", "torso": "mlp", "use_lstm": true}', 'missing|shape'),
  ),
)
def test_an_invalid_config_file_is_rejected(run, text, match):
  (run / 'config.json').write_text(text)
  assert_rejected(run, match)


def test_a_log_directory_without_a_run_is_rejected(tmp_path):
  assert_rejected(tmp_path, f'--logdir={tmp_path}.*config.json')


def test_a_log_directory_without_checkpoints_is_rejected(run):
  shutil.rmtree(run / 'checkpoints')
  assert_rejected(run, 'no checkpoints')
  assert_rejected(run, '--step=7.*none', step=7)


def damage(run, step):
  """Truncates the files of a checkpoint's arrays by 7 bytes."""
  for path in (run / 'checkpoints' / str(step)).rglob('d/*'):
    path.write_bytes(path.read_bytes()[:-7])


def test_damaged_checkpoints_are_never_evaluated(run):
  damage(run, 7)
  assert evaluate_run(run)['num_updates'] == 3
  assert_rejected(run, '/7/.*(read|damaged)', step=7)
  damage(run, 3)
  assert_rejected(run, 'Every checkpoint')


def test_a_video_of_an_env_without_rendering_is_rejected(tmp_path):
  logdir = write_run(tmp_path / 'run', env='FrozenLake-v1')
  assert_rejected(logdir, 'render.*FrozenLake-v1', video=str(logdir / 'a.gif'))


def test_a_failed_evaluation_keeps_the_previous_results(run, monkeypatch):
  (run / 'evaluation.json').write_text('an older one')

  def failing(*args, **kwargs):
    raise KeyboardInterrupt

  monkeypatch.setattr(evaluator, 'play', failing)
  before = contents(run)
  with pytest.raises(KeyboardInterrupt):
    evaluate_run(run, video=str(run / 'a.gif'))
  assert contents(run) == before
