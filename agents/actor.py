"""The actor: steps a batch of environments T times and hands over a rollout.

It knows neither the learner, nor the queue, nor the parameter store: it takes
callables, so a thread, a remote worker and a test drive the same code.
"""

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from agents import agent as agent_lib
from agents import episodes
from agents import trajectory

Array = jax.Array
# () -> (version, params): the newest parameters; how many updates made them.
GetParams = Callable[[], tuple[int, Any]]


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


def rollouts(
  env: Any,
  act: Callable[..., Any],
  get_params: GetParams,
  *,
  core_state: Any,
  key: Array,
  unroll_length: int,
  actor_id: int,
) -> Iterator[trajectory.Rollout]:
  """Yields rollouts for ever, each on parameters fetched at its beginning.

  Args:
    env: a batch of environments: `reset()` and `step(actions)` give a
      `dm_env.TimeStep` with a leading batch axis, in arrays never written
      again.
    act: from `make_act`.
    get_params: gives the newest parameters, on the device to act on, and their
      version.
    core_state: the agent's initial state for this many environments.
    key: this actor's own PRNG key.
    unroll_length: T, in agent steps.
    actor_id: stands in every rollout.
  """
  row = trajectory.first_row(env.reset())
  totals = episodes.zero_totals(len(row.action))
  while True:
    version, params = get_params()
    core_state, key = jax.device_put((core_state, key), _device(params))
    entering, rows = core_state, [row]
    for _ in range(unroll_length):
      # Only actions come back at every step; log-probabilities, which no agent
      # reads, once a rollout.
      seen = row._replace(log_prob=())
      output, core_state, key = act(params, key, seen, core_state)
      action = np.asarray(output.action)
      row = trajectory.Row(env.step(action), action, output.log_prob)
      rows.append(row)
    stacked = jax.tree.map(lambda *xs: np.stack(xs), *jax.device_get(rows))
    totals, returns, lengths = episodes.accumulate(totals, stacked)
    unrolls = trajectory.Trajectory(stacked, jax.device_get(entering))
    yield trajectory.Rollout(unrolls, actor_id, version, returns, lengths)


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


def _device(params: Any) -> Any:
  """Where the parameters are: what acts with them begins there too."""
  leaf = jax.tree.leaves(params)[0]
  return leaf.sharding if isinstance(leaf, jax.Array) else None
