"""Runs the conformance kit on a library, as a record for JSON."""

from collections.abc import Iterable
from typing import Any

from benchmarks.conformance import remote as remote_lib
from vtrace import conformance


def record(remote: remote_lib.Remote) -> dict[str, Any]:
  """Returns the description of a library, and the results of all properties."""
  return remote.description | {'results': results(remote)}


def results(
  remote: remote_lib.Remote, properties: Iterable[str] | None = None
) -> dict[str, dict[str, Any]]:
  """Returns status, tolerance and counter-example of every property, by name.

  Args:
    remote: a `Remote`, or another object with its methods and `description`.
    properties: names of some properties. None: all.
  """
  description, fn = remote.description, remote.vtrace
  if description['takes_transitions']:
    fn = conformance.from_transitions(fn)
  report = conformance.check(
    fn,
    ranks=description['ranks'],
    without=description['without'],
    gradient=remote.gradient if description['has_gradient'] else None,
    properties=properties,
  )
  return {
    result.name: {
      'status': result.status,
      'tolerance': result.tolerance,
      'counter_example': result.counter_example,
    }
    for result in report.results
  }


def sentences() -> dict[str, str]:
  """Returns the sentence of every property, in the order of a report."""
  return {one.name: one.sentence for one in conformance.PROPERTIES}
