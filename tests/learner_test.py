"""The learner's update, sharded or accumulated, and its loop of updates."""

import functools

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents import agent as agent_lib
from agents import batcher
from agents import learner
from agents import optimizer as optimizer_lib
from agents import trajectory
from tests import reference
import vtrace

T, B, ACTIONS = 5, 8, 3
# So small a clip is active in every update, so that the tests depend on where
# it is applied.
OPTIMIZER = optimizer_lib.rmsprop(decay=0.99, epsilon=0.1, max_grad_norm=5.0)
SPEC = dm_env.specs.Array((4,), np.float32)


def make_batch(seed):
  """Returns random rows `[T+1, B]` with resets, and an LSTM's core state."""
  rng = np.random.default_rng(seed)
  step_type = rng.choice([0, 1, 2], p=[0.1, 0.8, 0.1], size=(T + 1, B))
  normal = lambda *shape: np.float32(rng.normal(size=shape))
  timestep = dm_env.TimeStep(
    np.int32(step_type),
    normal(T + 1, B),
    np.float32(rng.choice([0, 1], size=(T + 1, B))),
    normal(T + 1, B, 4),
  )
  core = make_agent().initial_state(B)
  return trajectory.Trajectory(
    trajectory.Row(
      timestep,
      np.int32(rng.integers(ACTIONS, size=(T + 1, B))),
      -np.abs(normal(T + 1, B)),
    ),
    jax.tree.map(lambda x: normal(*x.shape), core),
  )


@functools.cache
def make_agent():
  return agent_lib.make_agent(
    SPEC, dm_env.specs.DiscreteArray(ACTIONS), torso='mlp', use_lstm=True
  )


def make_update(agent=None, **settings):
  return learner.make_update(
    agent or make_agent(),
    OPTIMIZER,
    functools.partial(vtrace.impala_loss, baseline_cost=0.5, entropy_cost=0.01),
    discount=0.9,
    clip_rewards=vtrace.abs_one,
    **settings,
  )


def initial_state(num_devices=1):
  return learner.init(
    make_agent(),
    OPTIMIZER,
    jax.random.key(0),
    jax.devices()[:num_devices],
  )


def split(batch, parts):
  """Returns the batch `[D, ...]` with its unrolls sharded over D parts."""
  return trajectory.map_unrolls(
    lambda axis, x: np.stack(np.split(x, parts, axis=axis)), batch
  )


def train(num_devices, **settings):
  """Returns the parameters and metrics after 10 updates."""
  devices = jax.devices()[:num_devices]
  update = learner.parallelize(make_update(**settings), devices)
  state = initial_state(num_devices)
  for seed in range(10):
    state, metrics = update(state, split(make_batch(seed), num_devices), 0.02)
    jax.block_until_ready(state)
  return state.params, metrics


@pytest.fixture(scope='module')
def on_one_device():
  return train(1)


def assert_close(a, b):
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), a, b
  )


@pytest.mark.parametrize('num_devices', (2, 8))
def test_any_number_of_devices_gives_the_same_parameters(
  num_devices, on_one_device
):
  params, metrics = train(num_devices)
  assert_close(params, on_one_device[0])
  assert_close(metrics, on_one_device[1])


def test_the_gradient_clip_is_active(on_one_device):
  assert on_one_device[1]['grad_norm'] > 5.0


def test_training_changes_all_parameters(on_one_device):
  changes = jax.tree.map(
    lambda a, b: float(jnp.max(jnp.abs(a - b))),
    on_one_device[0],
    initial_state().params,
  )
  assert min(jax.tree.leaves(changes)) > 1e-4


@pytest.mark.parametrize('unrolls_per_pass', (1, 4))
def test_accumulating_over_unrolls_gives_the_same_parameters(
  unrolls_per_pass, on_one_device
):
  params, metrics = train(1, unrolls_per_pass=unrolls_per_pass)
  assert_close(params, on_one_device[0])
  assert_close(metrics, on_one_device[1])


def test_unrolls_per_pass_that_does_not_divide_the_batch_raises_value_error():
  with pytest.raises(ValueError, match='divide'):
    train(1, unrolls_per_pass=3)


def test_the_update_is_the_same_under_vmap_and_pmap():
  batch = make_batch(0)
  vmapped = jax.jit(
    jax.vmap(
      make_update(),
      axis_name=learner.AXIS,
      in_axes=(None, 0, None),
      out_axes=None,
    )
  )
  pmapped = learner.parallelize(make_update(), jax.devices()[:2])
  a = vmapped(initial_state(), split(batch, 2), 0.02)
  b = pmapped(initial_state(2), split(batch, 2), 0.02)
  assert_close(a, b)


def test_the_step_is_the_learning_rate_times_the_direction():
  update = learner.parallelize(make_update(), jax.devices()[:1])
  start, batch = initial_state(), split(make_batch(0), 1)
  steps = [
    jax.tree.map(
      jnp.subtract, update(start, batch, rate)[0].params, start.params
    )
    for rate in (0.1, 0.2)
  ]
  assert_close(jax.tree.map(lambda x: 2 * x, steps[0]), steps[1])


def test_norms_are_those_of_the_step_and_of_the_new_parameters():
  update = learner.parallelize(make_update(), jax.devices()[:1])
  start, batch = initial_state(), split(make_batch(0), 1)
  state, metrics = update(start, batch, 0.02)
  step = jax.tree.map(jnp.subtract, state.params, start.params)
  for name, tree in (('update_norm', step), ('param_norm', state.params)):
    norm = np.sqrt(sum(float(jnp.sum(x**2)) for x in jax.tree.leaves(tree)))
    np.testing.assert_allclose(metrics[name], norm, rtol=1e-3, err_msg=name)


def test_one_compilation_serves_every_update(caplog):
  devices = jax.devices()[:2]
  update = learner.parallelize(make_update(), devices)
  place = learner.make_place(devices)
  batch = batcher.Batch(split(make_batch(0), 2), *[None] * 6)
  trajectories = [place(batch).trajectory for _ in range(3)]
  state = jax.block_until_ready(initial_state(2))
  with jax.log_compiles():
    for expected, part in zip((True, False, False), trajectories, strict=True):
      caplog.clear()
      state, _ = jax.block_until_ready(update(state, part, 0.02))
      assert ('Compiling' in caplog.text) == expected


@functools.cache
def one_device_update():
  return learner.parallelize(make_update(), jax.devices()[:1])


def learn(total_frames, publish=lambda version, params: None, **start):
  """Returns the progress of learning from batches of 30 transitions each."""
  batches = [
    batcher.Batch(
      split(make_batch(i), 1),
      30,
      versions=np.array([i - 1, i]),
      actors={},
      wait_seconds=0.0,
      episode_returns=np.zeros(0),
      episode_lengths=np.zeros(0),
    )
    for i in range(10)
  ]
  return list(
    learner.learn(
      initial_state(),
      iter(batches),
      one_device_update(),
      publish,
      learning_rate=lambda frames: 1.0 / (1 + frames),
      frames_per_step=4,
      total_frames=total_frames,
      **start,
    )
  )


@pytest.mark.parametrize(
  'total_frames,expected', ((239, 2), (240, 2), (241, 3)), ids=str
)
def test_learning_ends_at_the_update_that_reaches_total_frames(
  total_frames, expected
):
  assert len(learn(total_frames)) == expected


def test_learning_continues_from_the_counters_of_a_checkpoint():
  steps = learn(300, num_updates=7, num_frames=70)
  assert [s.num_updates for s in steps] == [8, 9]
  assert [s.num_frames for s in steps] == [190, 310]
  np.testing.assert_allclose(
    [s.learning_rate for s in steps], [1 / 71, 1 / 191]
  )
  np.testing.assert_array_equal([s.policy_lags for s in steps], [[8, 7]] * 2)
  assert not learn(300, num_updates=3, num_frames=300)


def test_learn_counts_frames_publishes_and_stops():
  published = []
  steps = learn(
    300, lambda version, params: published.append((version, params))
  )
  assert [s.num_frames for s in steps] == [120, 240, 360]
  assert [s.num_updates for s in steps] == [1, 2, 3]
  np.testing.assert_allclose(
    [s.learning_rate for s in steps], [1, 1 / 121, 1 / 241]
  )
  np.testing.assert_array_equal([s.policy_lags for s in steps], [[1, 0]] * 3)
  assert [version for version, _ in published] == [1, 2, 3]
  assert_close(published[-1][1], steps[-1].train_state.params)
  assert len(jax.tree.leaves(published[-1][1])[0].devices()) == 1


def test_the_loss_equals_a_numpy_reference():
  # Action, reward and discount of step t are those of row t + 1.
  agent, batch, discount = make_agent(), make_batch(5), 0.9
  params = initial_state().params
  rows = batch.rows._replace(
    timestep=batch.rows.timestep._replace(
      reward=3.0 * batch.rows.timestep.reward  # Many are clipped.
    )
  )
  batch = batch._replace(rows=rows)
  output = jax.jit(agent.unroll)(params, rows, batch.core_state)
  policy = np.exp(np.asarray(output.policy, np.float64))
  policy /= policy.sum(-1, keepdims=True)
  chosen = np.take_along_axis(policy[:-1], rows.action[1:, :, None], -1)[..., 0]
  mask = rows.timestep.step_type[1:] != dm_env.StepType.FIRST
  log_rhos = np.where(mask, np.log(chosen) - rows.log_prob[1:], -1e9)
  values = np.asarray(output.value)
  vs, advantages = reference.vtrace(
    log_rhos,
    discount * rows.timestep.discount[1:],
    np.clip(rows.timestep.reward[1:], -1, 1),
    values[:-1],
    values[-1],
  )
  entropy = -np.sum(policy * np.log(policy), -1)[:-1]
  expected = {
    'pg_loss': -np.sum(np.log(chosen) * advantages),
    'baseline_loss': 0.5 * np.sum((vs - values[:-1]) ** 2),
    'entropy_loss': -np.sum(entropy[mask]),
    'entropy': np.mean(entropy[mask]),
    'steps': np.sum(mask),
  }
  expected['loss'] = (
    expected['pg_loss']
    + 0.5 * expected['baseline_loss']
    + 0.01 * expected['entropy_loss']
  )
  update = learner.parallelize(make_update(), jax.devices()[:1])
  _, metrics = update(initial_state(), split(batch, 1), 0.0)
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-3, err_msg=name)


def test_updates_reduce_the_baseline_loss():
  update = learner.parallelize(make_update(), jax.devices()[:1])
  batch, state = split(make_batch(0), 1), initial_state()
  losses = []
  for _ in range(20):
    state, metrics = update(state, batch, 0.02)
    losses.append(float(metrics['baseline_loss']))
  assert losses[-1] < 0.9 * losses[0]


@pytest.mark.slow
def test_a_convolutional_update_is_the_same_sharded_and_accumulated():
  # Atari combines a custom gradient, accumulation in a scan and pmap.
  agent = agent_lib.make_agent(
    dm_env.specs.Array((20, 24, 2), np.uint8),
    dm_env.specs.DiscreteArray(ACTIONS),
    torso='shallow',
    use_lstm=False,
  )
  batch = make_batch(0)
  image = np.random.default_rng(0).integers(
    256, size=(T + 1, B, 20, 24, 2), dtype=np.uint8
  )
  batch = trajectory.Trajectory(
    batch.rows._replace(
      timestep=batch.rows.timestep._replace(observation=image)
    ),
    (),
  )

  def one_update(num_devices, unrolls_per_pass):
    devices = jax.devices()[:num_devices]
    update = learner.parallelize(
      make_update(agent=agent, unrolls_per_pass=unrolls_per_pass), devices
    )
    state = learner.init(agent, OPTIMIZER, jax.random.key(0), devices)
    state, metrics = update(state, split(batch, num_devices), 0.02)
    return jax.block_until_ready((state.params, metrics))

  whole = one_update(1, None)
  assert_close(one_update(1, 1), whole)
  assert_close(one_update(2, 2), whole)


@pytest.mark.parametrize(
  'optimizer,rate',
  (
    (optax.adam(0.02), 0.0),  # Has a rate of its own.
    (optax.rmsprop(0.02), 0.0),
    (optimizer_lib.scheduled(optax.sgd), 1e-3),
    (OPTIMIZER, 0.02),
  ),
)
def test_optimizers_of_optax_descend(optimizer, rate):
  # A regression: without discount and policy, the target is the reward.
  def loss(*, values, rewards, mask, **unused):
    del unused
    return jnp.sum(0.5 * jnp.square(values - rewards) * mask), {}

  update = jax.jit(
    jax.vmap(
      learner.make_update(
        make_agent(),
        optimizer,
        loss,
        discount=0.0,
        clip_rewards=lambda rewards: rewards,
      ),
      in_axes=(None, 0, None),
      out_axes=None,
      axis_name=learner.AXIS,
    )
  )
  state = learner.new_state(make_agent(), optimizer, jax.random.key(0))
  batch, losses = split(make_batch(3), 1), []
  for _ in range(30):
    state, metrics = update(state, batch, rate)
    losses.append(float(metrics['loss']))
  assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize('parts', (1, 4))
def test_metrics_of_a_loss_are_summed_over_devices_and_passes(parts):
  def loss(*, values, rows, extra, **unused):
    del unused
    metrics = {
      'shards': 1.0,
      'values': jnp.sum(values),
      'observations': jnp.sum(rows.timestep.observation),
      'extra': jnp.sum(extra['doubled']),
    }
    return 0.0 * jnp.sum(values), metrics

  plain = make_agent()

  def unroll(*args):
    output = plain.unroll(*args)
    return output._replace(extra={'doubled': 2 * output.value})

  update = learner.make_update(
    plain._replace(unroll=unroll),
    OPTIMIZER,
    loss,
    discount=0.9,
    clip_rewards=vtrace.abs_one,
    unrolls_per_pass=B // (2 * parts),
  )
  batch = make_batch(2)
  state = initial_state(2)
  _, metrics = learner.parallelize(update, jax.devices()[:2])(
    state, split(batch, 2), 0.0
  )
  values = plain.unroll(state.params, batch.rows, batch.core_state).value
  assert metrics['shards'] == 2 * parts
  np.testing.assert_allclose(metrics['values'], values[:-1].sum(), rtol=1e-3)
  np.testing.assert_allclose(metrics['extra'], 2 * values.sum(), rtol=1e-3)
  np.testing.assert_allclose(
    metrics['observations'], batch.rows.timestep.observation.sum(), rtol=1e-3
  )
