"""The actor: steps a batch of environments T times and yields a rollout.

The actor takes callables and does not depend on the learner, the queue or the
parameter store. A thread, a remote worker and a test can all run the same code.
"""

from collections.abc import Callable
from collections.abc import Iterator
import time
from typing import Any
from typing import NamedTuple

import dm_env
import jax
import jax.numpy as jnp
import numpy as np

from agents import agent as agent_lib
from agents import episodes
from agents import trajectory

Array = jax.Array
# () -> (version, params): the number of updates that made the parameters, and
# the parameters to act on next; None if the actor should stop.
GetParams = Callable[[], tuple[int, Any] | None]
# (params, key, row, core_state) -> (ActorOutput, core_state, key)
Act = Callable[..., tuple[agent_lib.ActorOutput, Any, Array]]


class Carry(NamedTuple):
  """The state of an actor and its environments between two rollouts."""

  row: trajectory.Row  # [B, ...]: the last arrival row.
  core_state: Any  # [B, ...]: the core state on entering that row.
  totals: episodes.Totals  # [B]: totals of the running episodes.
  env_state: Any  # The result of `env.get_state()`.


class ActorState(NamedTuple):
  """All that an actor's next rollouts depend on, except the parameters."""

  key: Array
  carry: Carry | None  # None: the environments are reset.


def make_act(agent: agent_lib.Agent) -> Act:
  """Compiles the agent's step; all actors can share the result."""

  @jax.jit
  def act(params, key, row, core_state):
    key, step_key = jax.random.split(key)
    output, core_state = agent.step(params, step_key, row, core_state)
    return output, core_state, key

  return act


def begin(env: Any, core_state: Any) -> Carry:
  """Resets all environments and returns their carry.

  Args:
    env: an `envs.environment.Environment`.
    core_state: the agent's initial state, `[B, ...]`.
  """
  row = trajectory.first_row(env.reset())
  totals = episodes.zero_totals(len(row.action))
  return Carry(row, core_state, totals, env.get_state())


def carry_template(env: Any, core_state: Any) -> Carry | None:
  """Returns a carry with the shapes of a real one, as a template.

  Returns None if `env` cannot save its state. Otherwise the state of `env` is
  restored before returning.
  """
  env_state = env.get_state()
  if env_state is None:
    return None
  carry = begin(env, core_state)
  env.set_state(env_state)
  return carry


def step(
  env: Any,
  act: Act,
  params: Any,
  key: Array,
  row: trajectory.Row,
  core_state: Any,
) -> tuple[dm_env.TimeStep, trajectory.Row, Any, Array]:
  """Acts on an arrival row `[B]` and steps the environments once.

  Each observation is copied to the device once, here; actor and learner both
  use this copy. Only the actions are copied back to the host.

  Returns:
    The next timestep, on the host; its arrival row, on the device; the core
    state on entering that row; and the key of the next step.
  """
  output, core_state, key = act(params, key, row, core_state)
  timestep = env.step(np.asarray(output.action))
  arrived = put_like(output.action, timestep)
  row = trajectory.Row(arrived, output.action, output.log_prob)
  return timestep, row, core_state, key


def put_like(like: Any, tree: Any) -> Any:
  """Puts `tree` on the device of the first leaf of `like`.

  If that leaf is not a JAX array, returns `jax.device_put(tree)`.
  """
  leaf = next(iter(jax.tree.leaves(like)), None)
  sharding = leaf.sharding if isinstance(leaf, jax.Array) else None
  return jax.device_put(tree, sharding)


@jax.jit
def stack(rows: list[trajectory.Row]) -> trajectory.Row:
  """Stacks T+1 rows `[B, ...]` into `[T+1, B, ...]`."""
  return jax.tree.map(lambda *xs: jnp.stack(xs), *rows)


def rollouts(
  env: Any,
  act: Act,
  get_params: GetParams,
  *,
  state: ActorState,
  initial_core_state: Any,
  unroll_length: int,
  actor_id: int,
) -> Iterator[trajectory.Rollout]:
  """Yields rollouts until `get_params` returns None.

  The parameters of a rollout are fetched at its beginning.

  Args:
    env: an `envs.environment.Environment`: `reset()` and `step(actions)` return
      a `dm_env.TimeStep` with a leading batch axis, in arrays that are never
      overwritten.
    act: from `make_act`.
    get_params: returns a version and parameters, on the device to act on.
    state: this actor's key, and the carry to continue from.
    initial_core_state: the agent's initial state, `[B, ...]`.
    unroll_length: T, in agent steps.
    actor_id: copied into every rollout.
  """
  carry = _resume(env, state.carry) or begin(env, initial_core_state)
  row, core_state, totals, _ = carry
  key = state.key
  ended = time.monotonic()
  while (latest := get_params()) is not None:
    version, params = latest
    wait_seconds = time.monotonic() - ended
    row, core_state, key = put_like(params, (row, core_state, key))
    entering, rows, timesteps = core_state, [row], []
    for _ in range(unroll_length):
      timestep, row, core_state, key = step(
        env, act, params, key, row, core_state
      )
      rows.append(row)
      timesteps.append(timestep._replace(observation=()))
    totals, returns, lengths = episodes.accumulate(totals, timesteps)
    state = _state(env, key, Carry(row, core_state, totals, None))
    unrolls = trajectory.Trajectory(stack(rows), entering)
    ended = time.monotonic()
    yield trajectory.Rollout(
      trajectory=unrolls,
      actor_id=actor_id,
      version=version,
      state=state,
      wait_seconds=wait_seconds,
      num_transitions=_num_transitions(timesteps),
      episode_returns=returns,
      episode_lengths=lengths,
    )


def run(
  make_rollouts: Callable[[], Iterator[trajectory.Rollout]],
  put: Callable[[trajectory.Rollout], bool],
  fail: Callable[[BaseException], None],
) -> None:
  """Runs the body of an actor thread: puts rollouts until `put` returns False.

  Args:
    make_rollouts: makes the actor's iterator, in this thread.
    put: accepts a rollout; returns False if the actor should stop.
    fail: called with any exception, which also ends the actor.
  """
  try:
    for rollout in make_rollouts():
      if not put(rollout):
        return
  except BaseException as error:
    fail(error)


def _resume(env: Any, carry: Carry | None) -> Carry | None:
  if carry is not None:
    env.set_state(carry.env_state)
  return carry


def _state(env: Any, key: Array, carry: Carry) -> ActorState:
  """Returns the actor's state, without a carry if `env` cannot save its own."""
  env_state = env.get_state()
  # A resumed actor must reset such environments: a carry would not match.
  if env_state is None:
    return ActorState(key, None)
  return ActorState(key, carry._replace(env_state=env_state))


def _num_transitions(timesteps: list[dm_env.TimeStep]) -> int:
  """Counts agent steps; steps to a FIRST timestep ignored their action."""
  return int(sum(np.sum(~trajectory.is_first(t)) for t in timesteps))
