"""Properties that every V-trace implementation must have, and their check."""

from vtrace.conformance.adapters import jax_gradient
from vtrace.conformance.checking import check
from vtrace.conformance.interface import Comparison
from vtrace.conformance.interface import Property
from vtrace.conformance.properties.table import PROPERTIES
from vtrace.conformance.report import Report
from vtrace.conformance.report import Result
from vtrace.conformance.transitions import from_transitions

__all__ = [
  'PROPERTIES',
  'Comparison',
  'Property',
  'Report',
  'Result',
  'check',
  'from_transitions',
  'jax_gradient',
]
