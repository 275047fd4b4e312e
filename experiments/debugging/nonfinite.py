"""Finds where the first NaN or infinity of a computation appears.

The function is evaluated equation by equation. What is not finite, though made
of finite operands, has its source there: inside, if the equation is a call or a
loop, which is looked into only then. What is made of it inherits the source.
The finding is the earliest source that reaches an output of the function: an
overflow that was clipped, or the -inf of a masked row, harmed nobody.
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

_MAX_OPERANDS = 6  # Described in a finding; a loop may have hundreds.

# Primitives that call a function once, and the parameter that holds it. Calls
# that are not here, and while loops, are named as a whole.
_CALLS = {
  'jit': 'jaxpr',
  'remat2': 'jaxpr',
  'custom_jvp_call': 'call_jaxpr',
  'custom_vjp_call': 'call_jaxpr',
}


def first_nonfinite(
  fn: Callable[..., Any], *args: Any
) -> findings.Finding | None:
  """Names the first non-finite array of `fn(*args)`.

  Inputs come first, then the source of what is wrong with the outputs. An
  output with no source, made from an infinity in the program, has its own name.
  Integers and PRNG keys are passed over. Compiling equation by equation takes
  longer than compiling `fn`.

  Args:
    fn: a function that jax can trace.
    *args: its arguments, concrete.

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
  """The outputs of `fn(*args)`, and the earliest source that reaches them."""
  jaxpr, shapes = jax.make_jaxpr(fn, return_shape=True)(*args)
  walk = _Walk([])
  inputs = [_Value(jnp.asarray(leaf)) for leaf in jax.tree.leaves(args)]
  values = walk.run(jaxpr, inputs)
  outputs = [value.array for value in values]
  source = _earliest(values)
  finding = None if source is None else walk.findings[source]
  return jax.tree.unflatten(jax.tree.structure(shapes), outputs), finding


class _Value(NamedTuple):
  array: Any
  source: int | None = None  # The number of the finding it derives from.


class _Walk(NamedTuple):
  """All findings so far, and the calls and loops that are being looked into."""

  findings: list[findings.Finding]
  scopes: str = ''  # Names of transformations and modules, from outside in.
  loops: str = ''
  caller: str = ''  # The line that called a library's function, if inside one.

  def run(self, jaxpr, inputs):
    """Evaluates a jaxpr, closed or open: `_Value`s in, `_Value`s out."""
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
      # Activations are large: what is not read again goes.
      values = {x: v for x, v in values.items() if last_reads.get(x, -1) > i}
    return [read(atom) for atom in jaxpr.outvars]

  def step(self, eqn, operands):
    """Evaluates an equation, and sees where its outputs are from."""
    arrays = [operand.array for operand in operands]
    outputs = _bind(eqn, arrays)
    source = _earliest(operands)
    if source is None and not all(map(findings.is_finite, outputs)):
      source = self.find(eqn, arrays, outputs)
    return [
      _Value(x, None if findings.is_finite(x) else source) for x in outputs
    ]

  def find(self, eqn, arrays, outputs):
    """The source of what an equation makes of operands that have none."""
    inside = self.look_inside(eqn, arrays)
    if not all(findings.is_finite(value.array) for value in inside):
      return _earliest(inside)
    # There is no inside; or rounded between its equations, all is finite.
    if _is_deliberate(arrays, outputs):
      return None
    culprit = next(x for x in outputs if not findings.is_finite(x))
    operands = tuple(map(findings.range_of, arrays[:_MAX_OPERANDS]))
    finding = findings.describe(self.where(eqn), culprit)
    self.findings.append(finding._replace(operands=operands))
    return len(self.findings) - 1

  def look_inside(self, eqn, arrays):
    """Outputs of the function that an equation calls; [] if it calls none."""
    name, params = eqn.primitive.name, eqn.params
    if name == 'scan':
      return self.unroll(eqn, arrays)
    if name == 'cond':
      callee, arrays = params['branches'][int(arrays[0])], arrays[1:]
    elif name in _CALLS:
      callee = params[_CALLS[name]]
    else:
      return []
    return self.enter(eqn, callee).run(callee, map(_Value, arrays))

  def unroll(self, eqn, arrays):
    """A scan in Python: its last carry, then every row that it stacks."""
    body, length = eqn.params['jaxpr'], eqn.params['length']
    # Versions of jax name the numbers of constants, carry and xs differently.
    # What is scanned over, or stacked, has one axis more outside than inside.
    first_x = len(arrays) - _num_longer(eqn.invars, body.in_avals)
    num_carry = len(eqn.outvars) - _num_longer(eqn.outvars, body.out_avals)
    values = [_Value(x) for x in arrays[:first_x]]
    consts, carry = values[: first_x - num_carry], values[first_x - num_carry :]
    stacked = []
    steps = reversed(range(length)) if eqn.params['reverse'] else range(length)
    for i in steps:
      row = [_Value(xs[i]) for xs in arrays[first_x:]]
      inside = self.enter(eqn, body, f', at index {i} of a scan over {length}')
      outputs = inside.run(body, consts + carry + row)
      carry = outputs[:num_carry]
      stacked += outputs[num_carry:]
    return carry + stacked

  def enter(self, eqn, callee, loop=''):
    """The walk inside `callee`, which `eqn` calls."""
    info = getattr(callee, 'jaxpr', callee).debug_info
    caller = self.caller
    if not caller and findings.is_library(info.func_filename or ''):
      # Its trace is cached: its lines know only who called it first.
      caller = findings.line_of(eqn)
    loops = self.loops + loop
    return _Walk(self.findings, self.scopes_of(eqn), loops, caller)

  def scopes_of(self, eqn):
    return f'{self.scopes}/{eqn.source_info.name_stack}'

  def where(self, eqn):
    """The primitive, its line, the loops and the module around it."""
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
  """Variable -> number of the last equation that reads it."""
  reads = [eqn.invars for eqn in jaxpr.eqns] + [jaxpr.outvars]
  return {
    atom: i
    for i, atoms in enumerate(reads)
    for atom in atoms
    if not isinstance(atom, jax.extend.core.Literal)
  }


def _bind(eqn, arrays):
  """The outputs of an equation, always in a sequence."""
  params = eqn.primitive.get_bind_params(eqn.params)
  if 'donated_invars' in params:  # Looking inside reads them again.
    params = params | {'donated_invars': (False,) * len(arrays)}
  outputs = eqn.primitive.bind(*arrays, **params)
  return outputs if eqn.primitive.multiple_results else [outputs]


def _earliest(values):
  sources = [value.source for value in values if value.source is not None]
  return min(sources, default=None)


def _is_deliberate(arrays, outputs):
  """Whether -inf was made of an infinity that the program contains.

  Such an operand has no source. -inf is the log of an importance weight of
  zero, and where a maximum begins. What becomes NaN or +inf of it, as 0 * -inf
  does, is not deliberate.
  """
  wrong = [np.asarray(x) for x in outputs if not findings.is_finite(x)]
  only_minus_inf = all(np.all(x < np.inf) for x in wrong)
  return only_minus_inf and not all(map(findings.is_finite, arrays))


def _num_longer(atoms, avals):
  """How many variables have more axes than those they become inside."""
  pairs = zip(atoms, avals, strict=True)
  return sum(len(x.aval.shape) > len(aval.shape) for x, aval in pairs)


def _inputs(fn, args):
  """(name, leaf) pairs; a name begins with that of the argument."""
  try:
    arguments = inspect.signature(fn).bind(*args).arguments
  except (TypeError, ValueError):  # There are functions without a signature.
    arguments = dict(enumerate(args))
  for argument, tree in arguments.items():
    for path, leaf in jax.tree.leaves_with_path(tree):
      yield f'{argument}/{_name(path)}'.rstrip('/'), leaf


def _name(path):
  return jax.tree_util.keystr(path, simple=True, separator='/')
