"""The actor: steps a batch of environments T times and hands over an unroll.

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
# () -> (version, params): the newest parameters, and how many updates old they
# are counted from the start.
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


def unrolls(
  env: Any,
  act: Callable[..., Any],
  get_params: GetParams,
  *,
  core_state: Any,
  key: Array,
  unroll_length: int,
  actor_id: int,
) -> Iterator[trajectory.Unroll]:
  """Yields unrolls for ever, each on parameters fetched at its beginning.

  Args:
    env: a batch of environments: `reset()` and `step(actions)` give a
      `dm_env.TimeStep` with a leading batch axis, in arrays never written
      again.
    act: from `make_act`.
    get_params: gives the newest parameters and their version.
    core_state: the agent's initial state for this many environments.
    key: this actor's own PRNG key.
    unroll_length: T, in agent steps.
    actor_id: stands in every unroll.
  """
  row = trajectory.first_row(env.reset())
  totals = episodes.zero_totals(len(row.action))
  while True:
    version, params = get_params()
    entering, rows = core_state, [row]
    for _ in range(unroll_length):
      output, core_state, key = act(params, key, row, core_state)
      action = np.asarray(output.action)
      row = trajectory.Row(env.step(action), action, output.log_prob)
      rows.append(row)
    unroll_rows = jax.tree.map(lambda *xs: np.stack(xs), *rows)
    totals, returns, lengths = episodes.accumulate(totals, unroll_rows)
    yield trajectory.Unroll(
      trajectory.Trajectory(unroll_rows, jax.tree.map(np.asarray, entering)),
      actor_id,
      version,
      returns,
      lengths,
    )


def run(
  unrolls_: Callable[[], Iterator[trajectory.Unroll]],
  put: Callable[[trajectory.Unroll], bool],
  fail: Callable[[BaseException], None],
) -> None:
  """An actor thread's body: puts unrolls until `put` says that it is closed.

  Args:
    unrolls_: makes the actor's iterator, in this thread.
    put: takes an unroll; False once nobody wants more.
    fail: is told of any exception, which ends the actor.
  """
  try:
    for unroll in unrolls_():
      if not put(unroll):
        return
  except BaseException as error:  # pylint: disable=broad-except
    fail(error)
