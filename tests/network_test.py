"""Torsos and networks: parameter counts, inputs and precision."""

import dm_env
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import agent as agent_lib
from agents import trajectory
from agents.networks import torsos
from envs import text

IMAGE = dm_env.specs.Array((72, 96, 3), np.uint8)
ATARI = dm_env.specs.Array((84, 84, 4), np.uint8)
INSTRUCTION = text.HashedWords(16)


def instruction_torso(tokens):
  return torsos.instruction_torso(tokens, text.NUM_BUCKETS)


def num_params(observation_spec, num_actions, torso, use_lstm):
  agent = agent_lib.make_agent(
    observation_spec,
    dm_env.specs.DiscreteArray(num_actions),
    torso=torso,
    use_lstm=use_lstm,
  )
  shapes = jax.eval_shape(agent.init, jax.random.key(0))
  return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
  'torso,language,expected',
  (
    ('deep', True, 1_628_010),
    ('shallow', True, 1_230_426),
    ('deep', False, 1_520_714),
    ('shallow', False, 1_123_130),
  ),
)
def test_dmlab_parameter_counts(torso, language, expected):
  spec = {'image': IMAGE} | ({'instruction': INSTRUCTION} if language else {})
  assert num_params(spec, 9, torso, use_lstm=True) == expected


def test_atari_parameter_count():
  assert num_params(ATARI, 18, 'deep', use_lstm=False) == 1_094_115


def test_deep_torso_has_15_convolutions():
  agent = agent_lib.make_agent(
    ATARI, dm_env.specs.DiscreteArray(4), torso='deep', use_lstm=False
  )
  shapes = jax.eval_shape(agent.init, jax.random.key(0))
  assert sum(p['w'].ndim == 4 for p in shapes.values()) == 15


def test_mlp_encodes_every_leaf_by_its_spec():
  spec = {
    'byte': dm_env.specs.Array((2,), np.uint8),
    'number': dm_env.specs.DiscreteArray(3),
    'vector': dm_env.specs.Array((2,), np.float32),
  }
  torso = hk.transform(torsos.mlp_torso(spec, hidden_sizes=(4,)))
  x = {
    'byte': jnp.array([[255, 0]], jnp.uint8),
    'number': jnp.array([2]),
    'vector': jnp.array([[5.0, -1.0]]),
  }
  params = torso.init(jax.random.key(0), x)
  w, b = jax.tree.leaves(params)[1], jax.tree.leaves(params)[0]
  features = np.array([[1.0, 0.0, 0.0, 0.0, 1.0, 5.0, -1.0]])
  np.testing.assert_allclose(
    torso.apply(params, None, x), np.maximum(features @ w + b, 0), rtol=1e-5
  )


def test_words_are_hashed_into_buckets_with_fnv_1a():
  tokens = text.hash_words('pick the red ball the', max_words=8)
  assert tokens[1] == tokens[4] != tokens[2]
  assert np.all((tokens[:5] >= 1) & (tokens[:5] <= 1000))
  assert np.all(tokens[5:] == 0)
  assert text.hash_words('a', 1)[0] == 0xE40C292C % 1000 + 1  # FNV-1a of 'a'.


def test_instruction_features_do_not_depend_on_padding():
  torso = hk.without_apply_rng(hk.transform(instruction_torso))
  short = jnp.asarray(text.hash_words('red ball', 2))[None]
  padded = jnp.asarray(text.hash_words('red ball', 6))[None]
  other = jnp.asarray(text.hash_words('ball red', 6))[None]
  params = torso.init(jax.random.key(0), short)
  np.testing.assert_allclose(
    torso.apply(params, short), torso.apply(params, padded), atol=1e-6
  )
  assert (
    np.max(np.abs(torso.apply(params, padded) - torso.apply(params, other)))
    > 1e-3
  )
  empty = torso.apply(params, jnp.zeros([1, 6], jnp.int32))
  np.testing.assert_array_equal(empty, np.zeros([1, 64]))


def test_unsupported_specs_and_torsos_raise_value_error():
  discrete = dm_env.specs.DiscreteArray(3)
  box = dm_env.specs.BoundedArray((2,), np.float32, -1, 1)
  make = lambda spec, action, torso: agent_lib.make_agent(
    spec, action, torso=torso, use_lstm=False
  )
  with pytest.raises(ValueError, match='action space'):
    make(ATARI, box, 'deep')
  with pytest.raises(ValueError, match="'wide'"):
    make(ATARI, discrete, 'wide')
  with pytest.raises(ValueError, match='one image'):
    make(dm_env.specs.Array((4,), np.float32), discrete, 'shallow')


def products(jaxpr):
  """Yields the operands' dtypes of all products in a jaxpr, also nested."""
  for equation in jaxpr.eqns:
    if equation.primitive.name in ('conv_general_dilated', 'dot_general'):
      yield tuple(str(v.aval.dtype) for v in (*equation.invars[:2],))
    for part in jax.tree.leaves(
      list(equation.params.values()),
      is_leaf=lambda x: hasattr(x, 'jaxpr') or hasattr(x, 'eqns'),
    ):
      inner = getattr(part, 'jaxpr', part)
      if hasattr(inner, 'eqns'):
        yield from products(inner)


def gradient(agent, params, rows, core):
  """Returns the gradient of a scalar of the policy and value outputs."""

  def scalar(params):
    outputs = agent.unroll(params, rows, core)
    return sum(jnp.sum(jnp.sin(x + 1)) for x in outputs[:2])

  return jax.jit(jax.grad(scalar))(params)


def direction(tree):
  """Returns all leaves as one vector of length 1; checks they are float32."""
  leaves = jax.tree.leaves(tree)
  assert {leaf.dtype for leaf in leaves} == {jnp.dtype('float32')}
  vector = np.concatenate([np.ravel(leaf) for leaf in leaves])
  return vector / np.linalg.norm(vector)


@pytest.mark.parametrize(
  'torso',
  (
    'mlp',
    pytest.param('shallow', marks=pytest.mark.slow),
    pytest.param('deep', marks=pytest.mark.slow),
  ),
)
def test_bfloat16_is_used_in_torso_and_core_and_float32_elsewhere(torso):
  spec = {'image': ATARI, 'instruction': INSTRUCTION}
  full, half = (
    agent_lib.make_agent(
      spec,
      dm_env.specs.DiscreteArray(5),
      torso=torso,
      use_lstm=True,
      compute_dtype=dtype,
    )
    for dtype in (jnp.float32, jnp.bfloat16)
  )
  params = half.init(jax.random.key(0))
  jax.tree.map(
    np.testing.assert_array_equal, params, full.init(jax.random.key(0))
  )
  rng = np.random.default_rng(0)
  rows = trajectory.zero_rows(spec, 1, 1)
  rows = rows._replace(
    timestep=rows.timestep._replace(
      observation={
        'image': rng.integers(256, size=(1, 1, 84, 84, 4), dtype=np.uint8),
        'instruction': text.hash_words('red ball', 16)[None, None],
      }
    )
  )
  core = full.initial_state(1)
  acted = {
    agent: jax.jit(agent.step)(
      params, jax.random.key(0), jax.tree.map(lambda x: x[0], rows), core
    )
    for agent in (full, half)
  }
  for a, b in zip(*(jax.tree.leaves(state) for _, state in acted.values())):
    assert a.dtype == b.dtype == np.float32
    np.testing.assert_allclose(a, b, atol=0.03)
    assert np.any(a != b)
  outputs = [agent.unroll(params, rows, core) for agent in (full, half)]
  assert {x.dtype for x in outputs[1][:2]} == {jnp.dtype('float32')}
  np.testing.assert_allclose(*(x.value for x in outputs), atol=0.03)
  directions = [
    direction(gradient(agent, params, rows, core)) for agent in acted
  ]
  assert directions[0] @ directions[1] > 0.99
  used = list(products(jax.make_jaxpr(half.unroll)(params, rows, core).jaxpr))
  heads = [dtypes for dtypes in used if dtypes == ('float32', 'float32')]
  assert len(heads) == 2 and len(used) > 5
  assert set(used) == {('float32', 'float32'), ('bfloat16', 'bfloat16')}


def test_token_k_reads_row_k_minus_1_of_the_embedding():
  # Each of the 1,000 buckets has a row, and padding has none.
  torso = hk.without_apply_rng(hk.transform(instruction_torso))
  tokens = jnp.array([[1, 500, text.NUM_BUCKETS]])
  params = torso.init(jax.random.key(0), tokens)
  (name,) = (name for name in params if 'embed' in name)
  table = params[name]['embeddings']
  assert table.shape == (1000, 20)

  def output(table):
    return jnp.sum(torso.apply(params | {name: {'embeddings': table}}, tokens))

  reached = np.any(np.asarray(jax.grad(output)(table)) != 0, axis=1)
  assert list(np.flatnonzero(reached)) == [0, 499, 999]


def test_text_is_known_by_its_spec_not_by_its_key():
  number = dm_env.specs.Array((3,), np.float32)
  plain = {'instruction': number, 'x': number}
  renamed = {'a': number, 'x': number}
  assert num_params(plain, 2, 'mlp', False) == num_params(
    renamed, 2, 'mlp', False
  )
  words = {'mission': INSTRUCTION, 'x': number}
  nested = {'x': number, 'hints': {'first': INSTRUCTION}}
  encoder = num_params({'x': number}, 2, 'mlp', False) + 1000 * 20
  for spec in (words, nested):
    assert num_params(spec, 2, 'mlp', False) > encoder
  agent = agent_lib.make_agent(
    plain, dm_env.specs.DiscreteArray(2), torso='mlp', use_lstm=False
  )
  rows = trajectory.zero_rows(plain, 1, 1)
  params = agent.init(jax.random.key(0))
  other = jax.tree.map(lambda x: x, rows)
  other.timestep.observation['instruction'] = np.ones([1, 1, 3], np.float32)
  assert agent.unroll(params, rows, ()).value != (
    agent.unroll(params, other, ()).value
  )
