"""Checks a V-trace function against the properties, from the command line.

python -m vtrace.conformance my_module:my_function
python -m vtrace.conformance my_module:my_function --batch_major
python -m vtrace.conformance my_module:my_function --without=lambda_,None

Prints a table and the counter-examples. The exit status is 1 if a property
failed or the function raised an exception, 2 if there is no such function.
"""

import argparse
import importlib
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np

from vtrace import conformance
from vtrace.conformance import cases


def main(arguments: list[str] | None = None) -> int:
  """Checks the function that the arguments name; returns the exit status."""
  parser = _make_parser()
  options = parser.parse_args(arguments)
  if options.list:
    for one in conformance.PROPERTIES:
      print(f'{one.name:<22}{one.sentence}')
    return 0
  try:
    fn = _find(options.function)
    if options.jax:
      fn = _compiled(fn)
    report = conformance.check(fn, **_adapters(fn, options))
  except ValueError as error:
    parser.error(str(error))
  print(report)
  return 0 if report.passed else 1


def _make_parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    'python -m vtrace.conformance', description=__doc__.splitlines()[0]
  )
  add = parser.add_argument
  add('function', nargs='?', default='', help='module:function')
  add('--batch_major', action='store_true', help='arrays are [B, T]')
  add(
    '--without',
    default='',
    help='what it lacks, for example lambda_,None or clip_c_threshold=0.9',
  )
  add('--ranks', default='2', help='1: [T], 2: [T, B], 3: [T, B, C]; 1,2,3')
  add(
    '--jax',
    action='store_true',
    help='of a JAX function: compiles it, and checks its gradients',
  )
  add('--properties', default='', help='some of them, separated by commas')
  add('--dtype', default='float32', help='of the inputs')
  add('--list', action='store_true', help='prints the properties')
  return parser


def _find(path: str):
  """Returns the function at 'module:function'.

  Raises:
    ValueError: if there is none.
  """
  module, _, name = path.partition(':')
  if not module or not name:
    raise ValueError(f'{path!r} is not of the form module:function.')
  if os.getcwd() not in sys.path:
    sys.path.insert(0, os.getcwd())
  try:
    fn = getattr(importlib.import_module(module), name)
  except (ImportError, AttributeError) as error:
    raise ValueError(f'{path}: {error}') from error
  if not callable(fn):
    raise ValueError(f'{path} is not a function.')
  return fn


def _adapters(fn, options: argparse.Namespace) -> dict:
  """Returns the keyword arguments of `check`."""
  in_jax = dict(to_native=jnp.asarray, gradient=conformance.jax_gradient(fn))
  return dict(
    time_major=not options.batch_major,
    without=_without(options.without),
    ranks=[int(rank) for rank in options.ranks.split(',')],
    properties=options.properties.split(',') if options.properties else None,
    dtype=_dtype(options.dtype),
    title=options.function,
    **(in_jax if options.jax else {}),
  )


def _compiled(fn):
  """Compiles a JAX function; its thresholds remain Python numbers."""
  return jax.jit(
    lambda *arrays, **keywords: fn(*arrays, **keywords),
    static_argnames=cases.KEYWORDS,
  )


def _dtype(name: str) -> np.dtype:
  try:
    dtype = np.dtype(name)
  except TypeError as error:
    raise ValueError(str(error)) from error
  if dtype.kind != 'f':
    raise ValueError(f'{name} is no dtype of floats.')
  return dtype


def _without(text: str) -> dict:
  """Parses 'lambda_,clip_c_threshold=0.9,clip_pg_rho_threshold=...'."""
  found = {}
  for item in filter(None, text.split(',')):
    name, equals, value = item.partition('=')
    try:
      found[name] = float(value) if equals else 1.0
    except ValueError:  # The name of another keyword, or no clipping.
      found[name] = None if value == 'None' else value
  return found


if __name__ == '__main__':
  sys.exit(main())
