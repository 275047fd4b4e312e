"""Tests of the search for the first non-finite array of a computation."""

import functools
import re

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents import agent as agent_lib
from agents import learner
from agents import trajectory
from experiments.debugging import nonfinite
import vtrace

T, B, ACTIONS = 3, 2, 3
ZERO_TO_TWO = np.float32([0, 1, 2])


@pytest.fixture(autouse=True, scope='module')
def fast_compilation():
  """Disables optimizations: hundreds of equations are compiled one by one."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


def log(x):
  return jnp.log(x)


def log_of_remainder(remaining, x):
  return remaining - x, jnp.log(remaining - x)


def scaled_twice(x):
  return jnp.sum(1e30 * (1e30 * x))


def l2_loss(x):
  return optax.l2_loss(x)


def divide_safely(x, y):
  return jnp.floor_divide(x, y)


def divide_by_zero(x, y):
  return jnp.floor_divide(x, 0 * y)


def assert_found_in(finding, fn, operation=''):
  """Checks that a finding names an operation, this file and `fn`.

  Names of primitives and exact lines differ between versions of jax.
  """
  primitive, _, place = finding.where.partition(' at ')
  assert operation in primitive
  assert 'tests/nonfinite_test.py:' in place and f'({fn.__name__})' in place


def scan_indices(finding):
  """Returns the indices of the scans around a finding, outermost first."""
  return [int(i) for i in re.findall(r'index (\d+)', finding.where)]


def custom_jvp(fn):
  fn = jax.custom_jvp(fn)
  fn.defjvps(lambda tangent, result, x: tangent)
  return fn


def custom_vjp(fn):
  wrapped = jax.custom_vjp(fn)
  wrapped.defvjp(lambda x: (fn(x), None), lambda _, gradient: (gradient,))
  return wrapped


def test_an_input_is_reported_by_its_path():
  params = {'b': np.ones(2), 'w': [np.ones(1), np.array([[2, -np.inf]])]}
  state = (jax.random.key(0), np.arange(3), params)
  fn = lambda state, rate: rate
  finding = nonfinite.first_nonfinite(fn, state, np.nan)
  assert 'input' in finding.where and finding.where.endswith('state/2/w/1')
  assert (finding.shape, finding.num_nonfinite) == ((1, 2), 1)
  assert '1 of 2' in str(finding) and '-inf at [0, 1]' in str(finding)
  params['w'][1] = np.ones(1)
  finding = nonfinite.first_nonfinite(fn, state, np.nan)
  assert finding.where.endswith('rate') and finding.example == 'nan at []'


def test_an_input_without_a_name_is_reported_by_its_position():
  finding = nonfinite.first_nonfinite(min, {'x': np.float32([np.inf])})
  assert finding.where.endswith('0/x')


@pytest.mark.parametrize(
  'wrap',
  (
    lambda fn: fn,
    jax.jit,
    lambda fn: jax.jit(lambda x: jax.jit(fn)(x) + 1),
    jax.checkpoint,
    custom_jvp,
    custom_vjp,
    lambda fn: jax.vmap(custom_vjp(fn)),
    lambda fn: lambda x: jax.lax.cond(x[0] > 0, jnp.exp, fn, x),
    lambda fn: lambda x: jax.lax.platform_dependent(x, cpu=fn, default=jnp.exp),
  ),
)
def test_the_operation_is_found_inside_every_transformation(wrap):
  fn = wrap(log)
  finding = nonfinite.first_nonfinite(lambda x: -fn(x), ZERO_TO_TWO)
  assert_found_in(finding, log, 'log')
  assert finding.example == '-inf at [0]'
  assert finding.operands == ('float32[3] from 0 to 2',)


@pytest.mark.parametrize('reverse, index', ((False, 1), (True, 2)))
def test_the_index_in_a_scan_is_reported(reverse, index):
  # From 3, the remainder is 0 after 1 and 2 forwards, after 3 backwards.
  fn = lambda rows: jax.lax.scan(
    log_of_remainder, jnp.float32(3), rows, reverse=reverse
  )
  finding = nonfinite.first_nonfinite(fn, np.float32([1, 2, 3]))
  assert_found_in(finding, log_of_remainder, 'log')
  assert scan_indices(finding) == [index]
  assert finding.operands == ('float32[] from 0 to 0',)


def test_the_indices_in_nested_scans_are_reported():
  def fn(rows, scale):
    inner = lambda row: jnp.sum(jax.lax.map(lambda x: log(scale * x), row))
    step = lambda total, row: (total + inner(row), None)
    return jax.lax.scan(step, 0.0, rows)[0]

  rows = np.float32([[1, 2, 3], [4, 5, 0], [0, 6, 7]])
  finding = nonfinite.first_nonfinite(fn, rows, np.float32(2))
  assert finding.where.startswith('log')
  assert 'tests/nonfinite_test.py:' in finding.where
  assert scan_indices(finding) == [1, 2]


def test_a_while_loop_is_reported_as_one_operation():
  fn = lambda x: jax.lax.while_loop(lambda x: x < 1e38, lambda x: x * 1e20, x)
  finding = nonfinite.first_nonfinite(fn, np.float32(1))
  assert finding.where.startswith('while')
  assert 'tests/nonfinite_test.py:' in finding.where


def test_the_backward_pass_and_the_module_are_reported():
  def loss(x):
    with jax.named_scope('mlp'), jax.named_scope('linear'):
      return scaled_twice(x)

  finding = nonfinite.first_nonfinite(jax.grad(loss), np.zeros(2, np.float32))
  assert_found_in(finding, scaled_twice, 'mul')
  assert 'backward' in finding.where and 'mlp/linear' in finding.where
  assert finding.operands[0] == 'float32[] from 1e+30 to 1e+30'


def test_a_gradient_is_attributed_to_the_file_of_its_function():
  fn = jax.grad(lambda x: jnp.sum(jnp.sqrt(x)))
  finding = nonfinite.first_nonfinite(fn, ZERO_TO_TWO)
  assert 'tests/nonfinite_test.py:' in finding.where
  assert finding.example == 'inf at [0]'


def test_a_finding_reports_bad_elements_and_ranges_of_operands():
  x = ZERO_TO_TWO[::-1]
  finding = nonfinite.first_nonfinite(lambda x, y: x / y, x, 0 * x)
  assert 'div' in finding.where
  assert (finding.num_nonfinite, finding.example) == (3, 'nan at [2]')
  ranges = ('float32[3] from 0 to 2', 'float32[3] from 0 to 0')
  assert finding.operands == ranges
  assert all(x in str(finding) for x in ('3 of 3', 'nan at [2]', *ranges))


def test_overflow_in_half_precision_is_found():
  fn = lambda x: x * x
  finding = nonfinite.first_nonfinite(fn, jnp.bfloat16([1, 2.0**64]))
  assert finding.example == 'inf at [1]'
  assert finding.operands[0] == 'bfloat16[2] from 1 to 1.84e+19'


def test_an_overflow_in_a_library_is_attributed_to_its_caller():
  finding = nonfinite.first_nonfinite(l2_loss, np.float32([1, 1e30]))
  assert_found_in(finding, l2_loss)


def test_a_jitted_library_function_is_attributed_to_its_caller():
  # jax caches the trace of floor_divide with the line of its first caller.
  fn = lambda x, y: (divide_safely(x, y), divide_by_zero(x, y))
  finding = nonfinite.first_nonfinite(fn, np.ones(7), np.ones(7))
  assert_found_in(finding, divide_by_zero)


def test_the_first_nonfinite_array_that_reaches_an_output_is_reported():
  def fn(x):
    clipped = jnp.minimum(jnp.exp(100 * x), 1.0)
    log_x = log(x)
    return {'a': jnp.exp(200 * x), 'b': clipped * log_x}

  finding = nonfinite.first_nonfinite(fn, ZERO_TO_TWO)
  assert_found_in(finding, log, 'log')


@pytest.mark.parametrize(
  'fn',
  (
    lambda x: jnp.sum(jnp.exp(jnp.where(x > 0, x, -jnp.inf))),
    jax.jit(lambda x: jnp.minimum(jnp.exp(100 * x), 1.0)),
    lambda x: jnp.where(x > 0, jnp.log(x), 0.0),
    lambda x: jax.nn.softmax(jnp.where(x > 0, x, -jnp.inf)) + jnp.max(x),
    lambda x: jnp.exp(jax.lax.scan(lambda c, x: (c - x, c), -jnp.inf, x)[1]),
    lambda x: (x, x > 0, jax.random.key(0)),
  ),
)
def test_infinities_that_reach_no_output_are_ignored(fn):
  assert nonfinite.first_nonfinite(fn, ZERO_TO_TWO) is None


@pytest.mark.parametrize('wrap', (lambda fn: fn, jax.jit))
def test_zero_times_a_deliberate_infinity_is_reported(wrap):
  masked = wrap(lambda x: jnp.where(x > 0, x, -jnp.inf))
  fn = lambda x: jnp.sum(0.0 * masked(x))
  finding = nonfinite.first_nonfinite(fn, ZERO_TO_TWO)
  assert finding.where.startswith('mul')
  assert finding.operands[-1] == 'float32[3] from -inf to 2'


def test_a_deliberate_infinity_in_an_output_is_reported_by_its_path():
  fn = lambda x: {'x': x, 'y': [jnp.where(x > 0, x, -jnp.inf)]}
  finding = nonfinite.first_nonfinite(fn, ZERO_TO_TWO)
  assert 'output' in finding.where and finding.where.endswith('y/0')


def test_arguments_are_not_donated():
  fn = jax.jit(log, donate_argnums=0)
  x = jnp.asarray(ZERO_TO_TWO)
  assert_found_in(nonfinite.first_nonfinite(fn, x), log, 'log')
  assert not x.is_deleted()


def test_intermediate_arrays_are_freed_after_their_last_use():
  num_alive = []

  def count(x):
    num_alive.append(sum(a.shape == (777,) for a in jax.live_arrays()))
    return x

  def fn(x):
    for _ in range(20):
      x = jnp.sin(x)
    return jax.pure_callback(count, x, x)

  nonfinite.evaluate(fn, np.ones(777, np.float32))
  assert num_alive and num_alive[0] < 5


class Update:
  """An update of the learner, and its arguments."""

  def __init__(self, torso, spec):
    optimizer = optax.identity()  # It adds no equations to compile.
    self.agent = agent_lib.make_agent(
      spec, dm_env.specs.DiscreteArray(ACTIONS), torso=torso, use_lstm=True
    )
    update = learner.make_update(
      self.agent,
      optimizer,
      functools.partial(
        vtrace.impala_loss, baseline_cost=0.5, entropy_cost=0.01
      ),
      discount=0.9,
      clip_rewards=lambda rewards: rewards,
    )
    self.update = jax.vmap(
      update,
      axis_name=learner.AXIS,
      in_axes=(None, 0, None),
      out_axes=None,
    )
    params = jax.jit(self.agent.init)(jax.random.key(0))
    self.state = learner.TrainState(params, optimizer.init(params))
    self.trajectory = self._trajectory(spec)

  def _trajectory(self, spec):
    """Makes rows [1, T+1, B]; one episode ends and the next one starts."""
    rng = np.random.default_rng(0)
    shape = (1, T + 1, B)
    step_type = np.ones(shape, np.int32)
    step_type[:, 1:3, 0] = [dm_env.StepType.LAST, dm_env.StepType.FIRST]
    timestep = dm_env.TimeStep(
      step_type,
      np.float32(rng.normal(size=shape)),
      np.ones(shape, np.float32),
      rng.integers(9, size=(*shape, *spec.shape)).astype(spec.dtype),
    )
    rows = trajectory.Row(
      timestep,
      np.int32(rng.integers(ACTIONS, size=shape)),
      np.full(shape, -1.0, np.float32),
    )
    core = self.agent.initial_state(B)
    return trajectory.Trajectory(rows, jax.tree.map(lambda x: x[None], core))

  def first_nonfinite(self, reward=None, log_prob=None, **modules):
    """Returns the finding with other rows or constant module parameters."""
    rows = self.trajectory.rows
    if reward is not None:
      timestep = rows.timestep._replace(reward=reward)
      rows = rows._replace(timestep=timestep)
    if log_prob is not None:
      rows = rows._replace(log_prob=log_prob)
    params = dict(self.state.params)
    for name, value in modules.items():
      fill = functools.partial(jnp.full_like, fill_value=value)
      params[name] = jax.tree.map(fill, params[name])
    return nonfinite.first_nonfinite(
      self.update,
      self.state._replace(params=params),
      self.trajectory._replace(rows=rows),
      0.01,
    )


@functools.cache
def mlp_update():
  return Update('mlp', dm_env.specs.Array((4,), np.float32))


@functools.cache
def shallow_update():
  return Update('shallow', dm_env.specs.Array((20, 20, 1), np.uint8))


@pytest.mark.slow
def test_evaluate_returns_the_outputs_of_the_update():
  mlp = mlp_update()
  args = mlp.state, mlp.trajectory, 0.01
  outputs, finding = nonfinite.evaluate(mlp.update, *args)
  assert finding is None
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    outputs,
    jax.jit(mlp.update)(*args),
  )


@pytest.mark.parametrize(
  'make_update',
  (mlp_update, pytest.param(shallow_update, marks=pytest.mark.slow)),
)
def test_a_finite_update_has_no_finding(make_update):
  # A row is masked; where mu is almost 0, weights overflow and are clipped.
  log_prob = np.full((1, T + 1, B), -1e30, np.float32)
  assert make_update().first_nonfinite() is None
  assert make_update().first_nonfinite(log_prob=log_prob) is None


def test_a_nonfinite_parameter_is_reported_by_its_path():
  finding = mlp_update().first_nonfinite(policy_head=np.nan)
  assert finding.where.endswith('params/policy_head/b')


def test_a_reward_that_overflows_is_found_in_the_loss():
  reward = np.ones((1, T + 1, B), np.float32)
  reward[0, 1, 1] = 3e38
  finding = mlp_update().first_nonfinite(reward=reward)
  assert 'vtrace/losses.py:' in finding.where
  assert '(baseline_loss)' in finding.where
  assert finding.operands[0].startswith('float32[1, 3, 2] from ')


def test_a_convolution_that_overflows_is_found_in_its_module():
  where = shallow_update().first_nonfinite(conv2_d_1=3e38).where
  assert 'agents/networks/cpu_gradients/conv.py:' in where
  assert where.endswith('conv2_d_1')
