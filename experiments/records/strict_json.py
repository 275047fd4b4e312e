"""JSON as the standard has it, which knows neither NaN nor Infinity."""

import json
import math
from typing import Any

import numpy as np


def dumps(value: Any, indent: int | None = None) -> str:
  """Returns `value` as JSON that every reader accepts.

  A float that is not finite becomes 'inf', '-inf' or 'nan', a string that
  `float` parses. NumPy scalars become numbers and arrays become lists.

  Raises:
    TypeError: if a value has no form in JSON.
  """
  return json.dumps(_strict(value), indent=indent, allow_nan=False)


def _strict(value: Any) -> Any:
  if isinstance(value, dict):
    return {name: _strict(x) for name, x in value.items()}
  if isinstance(value, (np.ndarray, np.generic)):
    return _strict(value.tolist())
  if isinstance(value, (list, tuple)):
    return [_strict(x) for x in value]
  if isinstance(value, float) and not math.isfinite(value):
    return str(value)
  return value
