"""Locates the source of the first NaN or infinity in a computation.

The function is evaluated equation by equation. An equation is a source if it
makes a non-finite output and none of its operands has a source. If the equation
is a call or a loop, the body of the callee is evaluated as well, and the source
is an equation of the body. A non-finite value that is computed from a value
with a source has the same source; a finite value has none. The result is the
earliest source of the outputs of the function. An overflow that is clipped
later is therefore not reported. Neither is a deliberate -inf, such as a logit
that is masked out: see `_is_deliberate`.
"""

from collections.abc import Callable
import inspect
import re
from typing import Any
from typing import NamedTuple

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np

from experiments.debugging import findings

# A finding describes at most this many operands; a loop may have hundreds.
_MAX_OPERANDS = 6

# Primitives that call a function once, and the equation parameter that holds
# the jaxpr of the function. Findings do not look inside while loops and the
# calls that are not listed here.
_CALLS = {
  'jit': 'jaxpr',
  'remat2': 'jaxpr',
  'custom_jvp_call': 'call_jaxpr',
  'custom_vjp_call': 'call_jaxpr',
}


def first_nonfinite(
  fn: Callable[..., Any], *args: Any
) -> findings.Finding | None:
  """Finds the first non-finite array of `fn(*args)`.

  Reports a non-finite input first, otherwise the source of a non-finite output.
  A deliberate -inf has no source; if it reaches an output, the output is
  reported. Integers and PRNG keys are skipped. Compiling every equation takes
  longer than compiling `fn`.

  Args:
    fn: a function that JAX can trace.
    *args: its concrete arguments.

  Returns:
    The finding; None if all inputs and outputs are finite.
  """
  for name, leaf in _inputs(fn, args):
    if not findings.is_finite(leaf):
      return findings.describe(f'the input {name}', leaf)
  outputs, finding = evaluate(fn, *args)
  for path, leaf in jax.tree.leaves_with_path(outputs):
    if not findings.is_finite(leaf):
      return finding or findings.describe(f'the output {_name(path)}', leaf)
  return None


def evaluate(
  fn: Callable[..., Any], *args: Any
) -> tuple[Any, findings.Finding | None]:
  """Returns the outputs of `fn(*args)` and the earliest source in them."""
  jaxpr, shapes = jax.make_jaxpr(fn, return_shape=True)(*args)
  interpreter = _Interpreter([])
  inputs = [_Value(jnp.asarray(leaf)) for leaf in jax.tree.leaves(args)]
  values = interpreter.run(jaxpr, inputs)
  outputs = [value.array for value in values]
  source = _earliest(values)
  finding = None if source is None else interpreter.findings[source]
  return jax.tree.unflatten(jax.tree.structure(shapes), outputs), finding


class _Value(NamedTuple):
  array: Any
  source: int | None = None  # Index of its source in the findings.


class _Interpreter(NamedTuple):
  """A jaxpr interpreter that tracks sources through nested calls and loops."""

  findings: list[findings.Finding]  # All sources so far, in order.
  scopes: str = ''  # Names of transformations and modules, outermost first.
  loops: str = ''  # The enclosing scans and their current indices.
  caller: str = ''  # Inside a library function: the line that called it.

  def run(self, jaxpr, inputs):
    """Evaluates a `ClosedJaxpr` or a `Jaxpr`; inputs and outputs are `_Value`s.

    Returns:
      The outputs, a list.
    """
    consts = [_Value(const) for const in getattr(jaxpr, 'consts', ())]
    jaxpr = getattr(jaxpr, 'jaxpr', jaxpr)
    values = dict(zip(jaxpr.constvars, consts))
    values |= zip(jaxpr.invars, inputs)

    def read(atom):
      is_literal = isinstance(atom, jax.extend.core.Literal)
      return _Value(atom.val) if is_literal else values[atom]

    last_reads = _last_reads(jaxpr)
    for i, eqn in enumerate(jaxpr.eqns):
      operands = [read(atom) for atom in eqn.invars]
      values |= zip(eqn.outvars, self.step(eqn, operands))
      # Activations are large: free those that are not read again.
      values = {x: v for x, v in values.items() if last_reads.get(x, -1) > i}
    return [read(atom) for atom in jaxpr.outvars]

  def step(self, eqn, operands):
    """Evaluates an equation and assigns sources to its outputs."""
    arrays = [operand.array for operand in operands]
    outputs = _bind(eqn, arrays)
    source = _earliest(operands)
    if source is None and not all(map(findings.is_finite, outputs)):
      source = self.find(eqn, arrays, outputs)
    return [
      _Value(x, None if findings.is_finite(x) else source) for x in outputs
    ]

  def find(self, eqn, arrays, outputs):
    """Finds the source of non-finite outputs if no operand has a source.

    The source is an equation of the callee, or `eqn` itself, for which this
    method adds a finding.

    Returns:
      The index of the finding; None if the outputs are a deliberate -inf.
    """
    inside = self.run_callee(eqn, arrays)
    if not all(findings.is_finite(value.array) for value in inside):
      return _earliest(inside)
    # No callee, or its equations give finite values when compiled one by one.
    if _is_deliberate(arrays, outputs):
      return None
    nonfinite = next(x for x in outputs if not findings.is_finite(x))
    operands = tuple(map(findings.range_of, arrays[:_MAX_OPERANDS]))
    finding = findings.describe(self.where(eqn), nonfinite)
    self.findings.append(finding._replace(operands=operands))
    return len(self.findings) - 1

  def run_callee(self, eqn, arrays):
    """Returns the outputs of the callee of `eqn`; [] if there is no callee."""
    name, params = eqn.primitive.name, eqn.params
    if name == 'scan':
      return self.run_scan(eqn, arrays)
    if name == 'cond':
      callee, arrays = params['branches'][int(arrays[0])], arrays[1:]
    elif name in _CALLS:
      callee = params[_CALLS[name]]
    else:
      return []
    return self.nested(eqn, callee).run(callee, map(_Value, arrays))

  def run_scan(self, eqn, arrays):
    """Runs a scan as a Python loop.

    Returns:
      The carry and, step by step, all outputs before they are stacked.
    """
    body, length = eqn.params['jaxpr'], eqn.params['length']
    # The names of the parameters that count constants, carry and xs depend on
    # JAX's version. Scanned and stacked arrays have one more axis outside.
    first_x = len(arrays) - _num_longer(eqn.invars, body.in_avals)
    num_carry = len(eqn.outvars) - _num_longer(eqn.outvars, body.out_avals)
    values = [_Value(x) for x in arrays[:first_x]]
    consts, carry = values[: first_x - num_carry], values[first_x - num_carry :]
    stacked = []
    steps = reversed(range(length)) if eqn.params['reverse'] else range(length)
    for i in steps:
      row = [_Value(xs[i]) for xs in arrays[first_x:]]
      inside = self.nested(eqn, body, f', at index {i} of a scan over {length}')
      outputs = inside.run(body, consts + carry + row)
      carry = outputs[:num_carry]
      stacked += outputs[num_carry:]
    return carry + stacked

  def nested(self, eqn, callee, loop=''):
    """Returns the interpreter for `callee`, which `eqn` calls."""
    info = getattr(callee, 'jaxpr', callee).debug_info
    caller = self.caller
    if not caller and findings.is_library(info.func_filename or ''):
      # JAX caches its trace, so its frames name only the first caller.
      caller = findings.line_of(eqn)
    loops = self.loops + loop
    return _Interpreter(self.findings, self.scopes_of(eqn), loops, caller)

  def scopes_of(self, eqn):
    return f'{self.scopes}/{eqn.source_info.name_stack}'

  def where(self, eqn):
    """Returns the primitive, its line, and the enclosing loops and module."""
    line = self.caller or findings.line_of(eqn)
    scopes = self.scopes_of(eqn)
    # '/transpose(jvp(mlp))/linear' is the module 'mlp/linear'.
    names = re.sub(r'\w+\(|\)', '', scopes).split('/')
    module = '/'.join(name for name in names if name)
    return (
      eqn.primitive.name
      + (f' at {line}' if line else '')
      + self.loops
      + (', in the backward pass' if 'transpose(' in scopes else '')
      + (f', in {module}' if module else '')
    )


def _last_reads(jaxpr):
  """Returns a dict from a variable to the last equation that reads it.

  The value is the index of the equation; for outputs, the number of equations.
  """
  reads = [eqn.invars for eqn in jaxpr.eqns] + [jaxpr.outvars]
  return {
    atom: i
    for i, atoms in enumerate(reads)
    for atom in atoms
    if not isinstance(atom, jax.extend.core.Literal)
  }


def _bind(eqn, arrays):
  """Computes the outputs of an equation, always as a sequence."""
  params = eqn.primitive.get_bind_params(eqn.params)
  if 'donated_invars' in params:  # `run_callee` reads them again.
    params = params | {'donated_invars': (False,) * len(arrays)}
  outputs = eqn.primitive.bind(*arrays, **params)
  return outputs if eqn.primitive.multiple_results else [outputs]


def _earliest(values):
  sources = [value.source for value in values if value.source is not None]
  return min(sources, default=None)


def _is_deliberate(arrays, outputs):
  """Returns whether non-finite outputs come from a -inf in the program.

  The operands have no source. A non-finite operand is then a constant of the
  program, or computed from one: the -inf that masks out a logit or a log
  importance weight, or the initial value of a maximum. NaN and +inf outputs,
  such as 0 * -inf = NaN, are never deliberate.
  """
  nonfinite = [np.asarray(x) for x in outputs if not findings.is_finite(x)]
  only_minus_inf = all(np.all(x < np.inf) for x in nonfinite)
  return only_minus_inf and not all(map(findings.is_finite, arrays))


def _num_longer(atoms, avals):
  """Counts the scanned inputs: outside the body they have one more axis."""
  pairs = zip(atoms, avals, strict=True)
  return sum(len(x.aval.shape) > len(aval.shape) for x, aval in pairs)


def _inputs(fn, args):
  """Yields (name, leaf) pairs; names start with the name of the argument."""
  try:
    arguments = inspect.signature(fn).bind(*args).arguments
  except (TypeError, ValueError):  # Some functions have no signature.
    arguments = dict(enumerate(args))
  for argument, tree in arguments.items():
    for path, leaf in jax.tree.leaves_with_path(tree):
      yield f'{argument}/{_name(path)}'.rstrip('/'), leaf


def _name(path):
  return jax.tree_util.keystr(path, simple=True, separator='/')
