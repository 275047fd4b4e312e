"""The actor: steps a batch of environments T times and hands over a rollout.

It knows neither the learner, nor the queue, nor the parameter store: it takes
callables, so a thread, a remote worker and a test drive the same code.
"""

from collections.abc import Callable
from collections.abc import Iterator
import time
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from agents import agent as agent_lib
from agents import episodes
from agents import trajectory

Array = jax.Array
# () -> (version, params): the parameters to act on next, and how many updates
# made them; None once nobody wants more.
GetParams = Callable[[], tuple[int, Any] | None]


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


def make_act(agent: agent_lib.Agent) -> Callable[..., Any]:
  """One compiled call per environment step; share it between actors.

  Returns:
    (params, key, row, core_state) -> (ActorOutput, core_state, key).
  """

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
  act: Callable[..., Any],
  params: Any,
  key: Array,
  row: trajectory.Row,
  core_state: Any,
) -> tuple[trajectory.Row, Any, Array]:
  """Acts on an arrival `[B]` and steps the environments to the next one.

  Only actions come back from the device; log-probabilities, which no agent
  reads, stay there.

  Returns:
    The next row, the core state on entering it, and the next step's key.
  """
  seen = row._replace(log_prob=())
  output, core_state, key = act(params, key, seen, core_state)
  action = np.asarray(output.action)
  row = trajectory.Row(env.step(action), action, output.log_prob)
  return row, core_state, key


def rollouts(
  env: Any,
  act: Callable[..., Any],
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
    core_state, key = jax.device_put((core_state, key), _device(params))
    entering, rows = core_state, [row]
    for _ in range(unroll_length):
      row, core_state, key = step(env, act, params, key, row, core_state)
      rows.append(row)
    stacked = jax.tree.map(lambda *xs: np.stack(xs), *jax.device_get(rows))
    totals, returns, lengths = episodes.accumulate(totals, stacked)
    unrolls = trajectory.Trajectory(stacked, jax.device_get(entering))
    state = _state(env, key, Carry(row, core_state, totals, None))
    ended = time.monotonic()
    yield trajectory.Rollout(
      unrolls, actor_id, version, state, wait_seconds, returns, lengths
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


def _device(params: Any) -> Any:
  """Where the parameters are: what acts with them begins there too."""
  leaf = jax.tree.leaves(params)[0]
  return leaf.sharding if isinstance(leaf, jax.Array) else None
