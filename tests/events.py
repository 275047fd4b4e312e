"""A reader of TensorBoard's event files."""

import struct

from tensorboardX.proto import event_pb2


def read(path):
  """Yields the complete records of one file."""
  contents = path.read_bytes()
  while len(contents) >= 12:
    (length,) = struct.unpack('<Q', contents[:8])
    yield event_pb2.Event.FromString(contents[12 : 12 + length])
    contents = contents[16 + length :]


def values(logdir):
  """Returns tag -> [(step, scalar or histogram), ...] of a log directory."""
  found = {}
  for path in sorted(logdir.glob('events.out.tfevents.*')):
    for event in read(path):
      for value in event.summary.value:
        is_scalar = value.HasField('simple_value')
        point = value.simple_value if is_scalar else value.histo
        found.setdefault(value.tag, []).append((event.step, point))
  return found
