"""The actor: steps a batch of environments T times and hands over a rollout.

It knows neither the learner, nor the queue, nor the parameter store: it takes
callables, so a thread, a remote worker and a test drive the same code.
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
# () -> (version, params): the parameters to act on next, and how many updates
# made them; None once nobody wants more.
GetParams = Callable[[], tuple[int, Any] | None]
# (params, key, row, core_state) -> (ActorOutput, core_state, key)
Act = Callable[..., tuple[agent_lib.ActorOutput, Any, Array]]


class Carry(NamedTuple):
  """Where an actor and its environments stand between two rollouts."""

  row: trajectory.Row  # [B, ...]: the last arrival.
  core_state: Any  # [B, ...]: on entering that row.
  totals: episodes.Totals  # [B]: of the episodes that are running.
  env_state: Any  # From `get_state`.


class ActorState(NamedTuple):
  """All that an actor's rollouts to come depend on, but for parameters."""

  key: Array
  carry: Carry | None  # None: its environments begin new episodes.


def make_act(agent: agent_lib.Agent) -> Act:
  """Compiles the agent's step; one such function serves all actors."""

  @jax.jit
  def act(params, key, row, core_state):
    key, step_key = jax.random.split(key)
    output, core_state = agent.step(params, step_key, row, core_state)
    return output, core_state, key

  return act


def begin(env: Any, core_state: Any) -> Carry:
  """Begins an episode in every environment, with the agent's initial state."""
  row = trajectory.first_row(env.reset())
  totals = episodes.zero_totals(len(row.action))
  return Carry(row, core_state, totals, env.get_state())


def carry_template(env: Any, core_state: Any) -> Carry | None:
  """A carry of the same shapes; None if the environments give no state.

  They are left as they were.
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
  """Acts on an arrival `[B]` and steps the environments to the next one.

  An observation crosses to the device once, here, for whoever reads it there;
  of what the device computes only actions come back.

  Returns:
    The next timestep; the row of it, on the device; the core state on entering
    that row; and the next step's key.
  """
  output, core_state, key = act(params, key, row, core_state)
  timestep = env.step(np.asarray(output.action))
  arrived = put_like(output.action, timestep)
  row = trajectory.Row(arrived, output.action, output.log_prob)
  return timestep, row, core_state, key


def put_like(there: Any, tree: Any) -> Any:
  """`tree` on the device of the arrays `there`, if they are on one."""
  leaf = next(iter(jax.tree.leaves(there)), None)
  sharding = leaf.sharding if isinstance(leaf, jax.Array) else None
  return jax.device_put(tree, sharding)


@jax.jit
def stack(rows: list[trajectory.Row]) -> trajectory.Row:
  """Rows `[B, ...]` as `[T+1, B, ...]`, once a rollout."""
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
  """Yields rollouts until `get_params` gives None.

  Each is on parameters fetched at its beginning.

  Args:
    env: an `envs.environment.Environment`: `reset()` and `step(actions)` give a
      `dm_env.TimeStep` with a leading batch axis, in arrays never written
      again.
    act: from `make_act`.
    get_params: gives parameters, on the device to act on, and their version.
    state: this actor's own key, and where to go on.
    initial_core_state: the agent's, for this many environments.
    unroll_length: T, in agent steps.
    actor_id: stands in every rollout.
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
  """An actor thread's body: puts rollouts until `put` says that it is closed.

  Args:
    make_rollouts: makes the actor's iterator, in this thread.
    put: takes a rollout; False once nobody wants more.
    fail: is told of any exception, which ends the actor.
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
  """Without the environments' state the rest of the carry would be a lie."""
  env_state = env.get_state()
  if env_state is None:
    return ActorState(key, None)
  return ActorState(key, carry._replace(env_state=env_state))


def _num_transitions(timesteps: list[dm_env.TimeStep]) -> int:
  """Counts agent steps; where an episode begins, the action was ignored."""
  return int(sum(np.sum(~trajectory.is_first(t)) for t in timesteps))
