"""The first non-finite array is named, and nothing is where all is well."""

import functools

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
def quick_to_compile():
  """Hundreds of equations are compiled, each alone."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


def log(x):
  return jnp.log(x)


def log_of_what_is_left(left, x):
  return left - x, jnp.log(left - x)


def scaled_twice(x):
  return jnp.sum(1e30 * (1e30 * x))


def l2_loss(x):
  return optax.l2_loss(x)


def divide_safely(x, y):
  return jnp.floor_divide(x, y)


def divide_by_zero(x, y):
  return jnp.floor_divide(x, 0 * y)


def line(fn):
  """Where a finding says that the only line of `fn` is."""
  number = fn.__code__.co_firstlineno + 1
  return f'at tests/nonfinite_test.py:{number} ({fn.__name__})'


def custom_jvp(fn):
  fn = jax.custom_jvp(fn)
  fn.defjvps(lambda tangent, result, x: tangent)
  return fn


def custom_vjp(fn):
  wrapped = jax.custom_vjp(fn)
  wrapped.defvjp(lambda x: (fn(x), None), lambda _, gradient: (gradient,))
  return wrapped


def test_an_input_is_named_by_its_path():
  params = {'b': np.ones(2), 'w': [np.ones(1), np.array([[2, -np.inf]])]}
  state = (jax.random.key(0), np.arange(3), params)
  fn = lambda state, rate: rate
  finding = nonfinite.first_nonfinite(fn, state, np.nan)
  assert finding.where == 'the input state/2/w/1'
  assert (finding.shape, finding.num_nonfinite) == ((1, 2), 1)
  assert str(finding).endswith(': 1 of 2 elements not finite, -inf at [0, 1]')
  params['w'][1] = np.ones(1)
  finding = nonfinite.first_nonfinite(fn, state, np.nan)
  assert (finding.where, finding.example) == ('the input rate', 'nan at []')


def test_an_input_without_a_name_has_its_number():
  finding = nonfinite.first_nonfinite(min, {'x': np.float32([np.inf])})
  assert finding.where == 'the input 0/x'


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
def test_the_primitive_and_its_line_are_named_wherever_it_is(wrap):
  fn = wrap(log)
  finding = nonfinite.first_nonfinite(lambda x: -fn(x), ZERO_TO_TWO)
  assert finding.where == f'log {line(log)}'
  assert finding.example == '-inf at [0]'
  assert finding.operands == ('float32[3] from 0 to 2',)


@pytest.mark.parametrize('reverse, index', ((False, 1), (True, 2)))
def test_the_index_in_a_scan_is_told(reverse, index):
  # 3 are left: forwards nothing is after 1 and 2, backwards at once, after 3.
  fn = lambda rows: jax.lax.scan(
    log_of_what_is_left, jnp.float32(3), rows, reverse=reverse
  )
  finding = nonfinite.first_nonfinite(fn, np.float32([1, 2, 3]))
  loop = f'at index {index} of a scan over 3'
  assert finding.where == f'log {line(log_of_what_is_left)}, {loop}'
  assert finding.operands == ('float32[] from 0 to 0',)


def test_scans_inside_scans_with_constants():
  def fn(rows, scale):
    inner = lambda row: jnp.sum(jax.lax.map(lambda x: log(scale * x), row))
    step = lambda total, row: (total + inner(row), None)
    return jax.lax.scan(step, 0.0, rows)[0]

  rows = np.float32([[1, 2, 3], [4, 5, 0], [0, 6, 7]])
  finding = nonfinite.first_nonfinite(fn, rows, np.float32(2))
  assert finding.where.startswith('log at tests/nonfinite_test.py')
  outer, inner = 'at index 1 of a scan over 3', 'at index 2 of a scan over 3'
  assert finding.where.endswith(f', {outer}, {inner}')


def test_a_while_loop_is_named_as_a_whole():
  fn = lambda x: jax.lax.while_loop(lambda x: x < 1e38, lambda x: x * 1e20, x)
  finding = nonfinite.first_nonfinite(fn, np.float32(1))
  assert finding.where.startswith('while at tests/nonfinite_test.py')


def test_the_backward_pass_and_the_module_are_told():
  def loss(x):
    with jax.named_scope('mlp'), jax.named_scope('linear'):
      return scaled_twice(x)

  finding = nonfinite.first_nonfinite(jax.grad(loss), np.zeros(2, np.float32))
  place = f'mul {line(scaled_twice)}, in the backward pass, in mlp/linear'
  assert finding.where == place
  assert finding.operands[0] == 'float32[] from 1e+30 to 1e+30'


def test_a_gradient_is_named_by_the_line_of_its_function():
  fn = jax.grad(lambda x: jnp.sum(jnp.sqrt(x)))
  finding = nonfinite.first_nonfinite(fn, ZERO_TO_TWO)
  assert finding.where.startswith('div at tests/nonfinite_test.py')
  assert 'float32[3] from 0 to 1.41' in str(finding)


def test_operands_explain():
  x = ZERO_TO_TWO[::-1]
  finding = nonfinite.first_nonfinite(lambda x, y: x / y, x, 0 * x)
  assert finding.where.startswith('div at ')
  assert str(finding).endswith(
    ': 3 of 3 elements not finite, nan at [2]; '
    'made of float32[3] from 0 to 2, float32[3] from 0 to 0'
  )


def test_half_precision_is_walked_too():
  fn = lambda x: x * x
  finding = nonfinite.first_nonfinite(fn, jnp.bfloat16([1, 2.0**64]))
  assert finding.example == 'inf at [1]'
  assert finding.operands[0] == 'bfloat16[2] from 1 to 1.84e+19'


def test_a_line_in_a_library_is_not_the_users():
  finding = nonfinite.first_nonfinite(l2_loss, np.float32([1, 1e30]))
  assert line(l2_loss) in finding.where


def test_a_jitted_library_function_has_the_line_of_its_caller():
  # jax traces floor_divide once, for whoever is first.
  fn = lambda x, y: (divide_safely(x, y), divide_by_zero(x, y))
  finding = nonfinite.first_nonfinite(fn, np.ones(7), np.ones(7))
  assert line(divide_by_zero) in finding.where


def test_the_first_of_several_that_reaches_an_output_is_named():
  def fn(x):
    clipped = jnp.minimum(jnp.exp(100 * x), 1.0)
    log_x = log(x)
    return {'a': jnp.exp(200 * x), 'b': clipped * log_x}

  finding = nonfinite.first_nonfinite(fn, ZERO_TO_TWO)
  assert finding.where == f'log {line(log)}'


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
def test_what_reaches_no_output_harms_nobody(fn):
  assert nonfinite.first_nonfinite(fn, ZERO_TO_TWO) is None


@pytest.mark.parametrize('wrap', (lambda fn: fn, jax.jit))
def test_zero_times_a_deliberate_infinity_is_named(wrap):
  masked = wrap(lambda x: jnp.where(x > 0, x, -jnp.inf))
  fn = lambda x: jnp.sum(0.0 * masked(x))
  finding = nonfinite.first_nonfinite(fn, ZERO_TO_TWO)
  assert finding.where.startswith('mul at')
  assert finding.operands[-1] == 'float32[3] from -inf to 2'


def test_a_deliberate_infinity_that_comes_out_is_named_as_an_output():
  fn = lambda x: {'x': x, 'y': [jnp.where(x > 0, x, -jnp.inf)]}
  finding = nonfinite.first_nonfinite(fn, ZERO_TO_TWO)
  assert finding.where == 'the output y/0'


def test_arguments_are_not_donated():
  fn = jax.jit(log, donate_argnums=0)
  x = jnp.asarray(ZERO_TO_TWO)
  assert nonfinite.first_nonfinite(fn, x).where == f'log {line(log)}'
  assert not x.is_deleted()


def test_what_is_not_read_again_is_let_go():
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


class Replay:
  """An update as the learner makes it, and what it was given."""

  def __init__(self, torso, spec):
    optimizer = optax.identity()  # Others only add equations to compile.
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
    """Rows `[1, T+1, B]`; an episode ends and another begins."""
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
    """The finding with other rows, or with a module's parameters all so."""
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
def perceptron():
  return Replay('mlp', dm_env.specs.Array((4,), np.float32))


@functools.cache
def shallow():
  return Replay('shallow', dm_env.specs.Array((20, 20, 1), np.uint8))


@pytest.mark.slow
def test_the_walk_computes_what_the_update_does():
  replay = perceptron()
  args = replay.state, replay.trajectory, 0.01
  outputs, finding = nonfinite.evaluate(replay.update, *args)
  assert finding is None
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    outputs,
    jax.jit(replay.update)(*args),
  )


@pytest.mark.parametrize('make_replay', (perceptron, shallow))
def test_nothing_is_found_in_a_healthy_update(make_replay):
  # A row is masked; and where mu was almost 0, weights overflow and are cut.
  log_prob = np.full((1, T + 1, B), -1e30, np.float32)
  assert make_replay().first_nonfinite() is None
  assert make_replay().first_nonfinite(log_prob=log_prob) is None


def test_a_bad_parameter_is_named():
  finding = perceptron().first_nonfinite(policy_head=np.nan)
  assert finding.where == 'the input train_state/params/policy_head/b'


def test_a_reward_that_overflows_the_loss_is_found_there():
  reward = np.ones((1, T + 1, B), np.float32)
  reward[0, 1, 1] = 3e38
  finding = perceptron().first_nonfinite(reward=reward)
  assert finding.where.startswith('square at vtrace/losses.py:')
  assert finding.where.endswith(' (baseline_loss)')
  assert finding.operands[0].startswith('float32[1, 3, 2] from ')


def test_a_convolution_that_overflows_is_found_in_its_module():
  where = shallow().first_nonfinite(conv2_d_1=3e38).where
  assert 'agents/networks/cpu_gradients/conv.py:' in where
  assert where.endswith(', in conv2_d_1')
