"""Custom agents, optimizers, losses and environments, by name and in Python."""

import csv
import functools
import json
import math
import pathlib
import subprocess
import sys

import jax.numpy as jnp
import optax
import pytest

from agents import loss_interface
from experiments import check
from experiments import cli
from experiments import config as config_lib
from experiments import train
from experiments.checking import results as results_lib
from experiments.training import builders
from experiments.training import evaluation
from experiments.training import parts as parts_lib
from experiments.training import setup as setup_lib
from tests import own_envs
from tests import running

EXAMPLE = 'examples.own_agent'
OWN = {
  name: f'{EXAMPLE}:make_{name}' for name in ('agent', 'optimizer', 'loss')
}
ROOT = pathlib.Path(__file__).parent.parent


def small(logdir, **settings):
  return running.config_for(
    logdir=str(logdir),
    num_frames=96,
    log_updates=2,
    timeout_seconds=600.0,
    **settings,
  )


def rows(logdir):
  with open(logdir / 'metrics.csv', newline='') as file:
    return list(csv.DictReader(file))


def make_plain_optimizer(config):
  """Makes Adam with a rate of its own, which no schedule changes."""
  del config
  return optax.adam(0.01)


def make_bare_loss(config):
  """Makes a loss that returns one metric, of no name that we know."""
  del config

  def loss(*, values, bootstrap_value, rewards, **unused):
    del bootstrap_value, unused
    errors = jnp.square(values - rewards)
    return jnp.sum(errors), {'brand_new': 3.0}

  return loss


def test_the_example_is_short():
  example = ROOT / 'examples' / 'own_agent.py'
  assert len(example.read_text().splitlines()) < 60


def command(name, *flags):
  result = subprocess.run(
    [sys.executable, '-m', f'experiments.{name}', *flags],
    cwd=ROOT,
    text=True,
    capture_output=True,
    timeout=300,
    check=False,
  )
  assert result.returncode == 0, result.stderr
  return result.stdout


@pytest.mark.slow
def test_every_command_works_for_the_example(tmp_path):
  flags = [f'--{name}={factory}' for name, factory in OWN.items()]
  logdir = f'--logdir={tmp_path}'
  size = ['--batch_size=64', '--num_frames=3000', '--log_updates=1']
  command('train', '--preset=catch', logdir, *size, *flags)
  recorded = json.loads((tmp_path / 'config.json').read_text())
  assert {name: recorded[name] for name in OWN} == OWN
  before = (tmp_path / 'metrics.csv').read_text()
  assert 'reward_loss' in before
  # The run is over: with its log directory alone it is rebuilt and not changed.
  assert 'Resuming' in command('train', logdir)
  assert (tmp_path / 'metrics.csv').read_text() == before
  assert 'mean return' in command('evaluate', logdir, '--num_episodes=4')
  table = command('check', logdir, '--seconds=1')
  assert OWN['agent'] in table and 'FAIL' not in table
  assert 'inference' in command('benchmark', logdir, '--rounds=1')
  command('plot', str(tmp_path), f'--out={tmp_path}')


@pytest.mark.slow
@pytest.mark.usefixtures('one_device')
def test_an_interrupted_run_of_own_parts_resumes_to_the_same_result(
  tmp_path, monkeypatch
):
  whole, parted = tmp_path / 'whole', tmp_path / 'parted'
  train.train(small(whole, lag=0, **OWN))
  offer = train.checkpointing.Keeper.offer

  def interrupt(self, run):
    offer(self, run)
    if run.num_updates == 5:
      raise KeyboardInterrupt

  with monkeypatch.context() as context:
    context.setattr(train.checkpointing.Keeper, 'offer', interrupt)
    with pytest.raises(KeyboardInterrupt):
      train.train(small(parted, lag=0, **OWN))
  train.train(small(parted, lag=0, **OWN))
  for one, other in zip(rows(whole), rows(parted), strict=True):
    for name in ('num_updates', 'loss', 'reward_loss', 'param_norm'):
      assert one[name] == other[name], name


@pytest.mark.usefixtures('one_device')
def test_factories_given_in_python_are_used_and_recorded(tmp_path):
  calls = []

  def make_env(seed):
    return own_envs.Walk(seed)

  def make_agent(config, env):
    calls.append((config.seed, env.num_envs))
    return builders.make_agent(config, env)

  train.train(
    small(tmp_path, seed=7),
    make_env=make_env,
    make_agent=make_agent,
    make_optimizer=make_plain_optimizer,
    make_loss=make_bare_loss,
  )
  assert calls == [(7, 2)]
  recorded = json.loads((tmp_path / 'config.json').read_text())
  assert recorded['env'].endswith('<locals>.make_env')
  assert recorded['optimizer'] == f'{__name__}:make_plain_optimizer'
  assert recorded['loss'] == f'{__name__}:make_bare_loss'
  assert {row['brand_new'] for row in rows(tmp_path)} == {'3'}
  assert not {'pg_loss', 'log_rho'} & rows(tmp_path)[0].keys()
  assert float(rows(tmp_path)[0]['entropy']) == pytest.approx(
    math.log(3), rel=0.2
  )
  # A local function must be given again; the others are found by their names.
  options = evaluation.Options(logdir=str(tmp_path), num_episodes=2)
  for parts, message in (
    (dict(make_env=make_env), '--agent.*make_agent='),
    (dict(make_agent=make_agent), 'make_env'),
  ):
    with pytest.raises(config_lib.ConfigError, match=message):
      evaluation.evaluate(options, parts_lib.Parts(**parts))
  parts = parts_lib.Parts(make_env=make_env, make_agent=make_agent)
  evaluation.evaluate(options, parts)
  assert calls == [(7, 2), (7, 2)]


class _Callable:
  def __call__(self):
    """Does nothing."""


def test_names_of_factories():
  assert parts_lib.factory_name(make_bare_loss) == f'{__name__}:make_bare_loss'
  assert parts_lib.factory_name(own_envs.Walk) == 'tests.own_envs:Walk'
  partial = functools.partial(make_bare_loss, None)
  assert parts_lib.factory_name(partial) == f'{__name__}:make_bare_loss(...)'
  for hidden in (lambda: 0, partial, _Callable()):
    assert '0x' not in parts_lib.factory_name(hidden)  # To resume the run.
    config = running.config_for(loss=parts_lib.factory_name(hidden))
    with pytest.raises(config_lib.ConfigError, match='must be given in'):
      parts_lib.find(config)


def test_an_agent_for_actions_that_are_not_discrete_is_a_config_error():
  config = running.config_for(
    env='tests.own_envs:Wild', agent=f'{EXAMPLE}:make_agent'
  )
  with pytest.raises(config_lib.ConfigError, match='single discrete action'):
    setup_lib.make_setup(config, shapes_only=True)


@pytest.mark.parametrize(
  'field,factory,message',
  (
    ('agent', 'no_such_module:f', 'no_such_module'),
    ('optimizer', 'tests.parts_test:nothing', "no function or class 'nothing'"),
    ('loss', 'tests.parts_test', 'module:factory'),
    ('loss', ':f', 'module:factory'),
    (
      'agent',
      'builtins:print',
      'None; expected an agents.agent',
    ),
    ('optimizer', 'builtins:print', 'None; expected an optax'),
    ('optimizer', 'tests.parts_test:inputs', r'\(config\): too many'),
    ('loss', 'builtins:print', 'None; expected a function'),
  ),
)
def test_a_factory_that_does_not_fit_is_a_config_error(field, factory, message):
  config = running.config_for(**{field: factory})
  with pytest.raises(config_lib.ConfigError, match=message) as raised:
    setup_lib.make_setup(config, shapes_only=True)
  assert str(raised.value).startswith(f'--{field}')


def inputs():
  """Returns what a loss gets for one unroll of two steps."""
  ones = jnp.ones([2, 1])
  names = (
    'behaviour_log_probs target_log_probs entropy values rewards discounts'
  )
  return dict.fromkeys(names.split(), ones) | dict(
    mask=jnp.ones([2, 1], bool),
    bootstrap_value=jnp.ones([1]),
    rows='the rows',
    extra='the extra outputs',
  )


@pytest.mark.parametrize('field', ('agent', 'optimizer', 'loss'))
def test_an_error_in_a_factory_names_it_and_keeps_its_trace(field):
  def fails(config, env=None):
    return config.no_such_field

  config = running.config_for()
  parts = parts_lib.Parts(**{f'make_{field}': fails})
  config = parts_lib.record(config, parts)
  message = f'--{field}=.*fails, called as .config.*AttributeError: .*no_such'
  with pytest.raises(config_lib.FactoryFailed, match=message) as info:
    setup_lib.make_setup(config, parts=parts)
  assert isinstance(info.value.__cause__, AttributeError)


def test_an_error_in_a_factory_of_ours_is_not_blamed_on_a_flag(monkeypatch):
  def fails(config):
    raise ZeroDivisionError

  monkeypatch.setattr(builders, 'make_optimizer', fails)
  with pytest.raises(ZeroDivisionError):
    setup_lib.make_setup(running.config_for())


def test_the_trace_of_a_factory_is_printed_before_the_sentence(capsys):
  with pytest.raises(config_lib.FactoryFailed) as failed:
    setup_lib.make_setup(running.config_for(optimizer='optax:adam'))
  with pytest.raises(SystemExit) as ended:
    cli._exit_with_error(failed.value)
  assert ended.value.code == 2
  printed = capsys.readouterr().err.strip().splitlines()
  assert any('scale_by_learning_rate' in line for line in printed)
  assert printed[-1].startswith('error: --optimizer=optax:adam')


def test_a_loss_gets_rows_and_extra_outputs_only_if_it_names_them():
  seen = {}

  def with_rows(*, rows, **others):
    seen['rows'] = rows, set(others)
    return 0.0, {}

  def with_extra(extra, **others):
    seen['extra'] = extra, set(others)
    return 0.0, {}

  eight = set(inputs()) - {'rows', 'extra'}
  loss_interface.call(with_rows, inputs())
  loss_interface.call(with_extra, inputs())
  assert seen == {
    'rows': ('the rows', eight),
    'extra': ('the extra outputs', eight),
  }
  loss_interface.call(builders.make_loss(running.config_for()), inputs())


def test_a_loss_with_other_arguments_is_an_error():
  with pytest.raises(
    loss_interface.LossError, match='with behaviour_log_probs'
  ):
    loss_interface.call(lambda logits: (0.0, {}), inputs())


@pytest.mark.parametrize(
  'result,message',
  (
    (jnp.zeros([]), 'must return'),
    ((jnp.zeros([]), None), 'must return'),
    ((jnp.zeros([3]), {}), r'a loss of shape \(3,\)'),
    ((jnp.zeros([]), {'mine': jnp.zeros([2, 1])}), r'mine of shape \(2, 1\)'),
    ((jnp.zeros([]), {'grad_norm': 0.0}), 'grad_norm'),
    ((jnp.zeros([]), {'entropy': 0.0}), 'entropy'),
  ),
)
def test_a_loss_that_breaks_its_contract_is_named(result, message):
  with pytest.raises(loss_interface.LossError, match=message):
    loss_interface.call(lambda **unused: result, inputs())


@pytest.mark.usefixtures('one_device')
@pytest.mark.parametrize(
  'make_loss,expected',
  (
    (f'{EXAMPLE}:make_loss', results_lib.PASS),
    (f'{__name__}:make_doubled_loss', results_lib.DIFFERS),
  ),
)
def test_the_check_compares_a_custom_loss_without_failing_it(
  make_loss, expected, monkeypatch
):
  monkeypatch.setattr(check, '_steps_per_second', lambda env: 0.0)
  config = config_lib.Config(
    **dict(OWN, loss=make_loss),
    env='tests.own_envs:Walk',
    num_actors=2,
    envs_per_actor=4,
    batch_size=8,
    unroll_length=7,
  )
  found = check.check(config, seconds=300).results
  statuses = {result.name: result.status for result in found}
  for name in ('targets', 'advantages', 'terminations', 'truncations'):
    assert statuses.pop(name) == expected, name
  assert set(statuses.values()) == {results_lib.PASS}


def make_doubled_loss(config):
  """Makes twice the loss of the example: another weight of every gradient."""
  from examples import own_agent

  loss = own_agent.make_loss(config)

  def doubled(*, extra, **arguments):
    total, metrics = loss(extra=extra, **arguments)
    return 2 * total, metrics

  return doubled
