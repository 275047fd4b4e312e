"""NLE: `from_importance_weights` of its agent, which is TorchBeast's.

It has no lambda, and no threshold for c (always 1).
"""

from nle.agent import vtrace as nle_vtrace

from benchmarks.conformance.adapters import torch_arrays

PACKAGE, FUNCTION = 'nle', 'from_importance_weights'
WITHOUT = {'lambda_': 1.0, 'clip_c_threshold': 1.0}

to_native, to_numpy = torch_arrays.to_native, torch_arrays.to_numpy


def vtrace(*arrays, clip_rho_threshold, clip_pg_rho_threshold):
  """Returns (vs, pg_advantages), each of the shape of `values`, `[T, ...]`."""
  return nle_vtrace.from_importance_weights(
    *arrays,
    clip_rho_threshold=clip_rho_threshold,
    clip_pg_rho_threshold=clip_pg_rho_threshold,
  )


gradient = torch_arrays.make_gradient(vtrace)
