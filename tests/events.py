"""Reads TensorBoard's event files back."""

import struct

from tensorboardX.proto import event_pb2


def read(path):
  """The whole records of one file."""
  contents = path.read_bytes()
  while len(contents) >= 12:
    (length,) = struct.unpack('<Q', contents[:8])
    yield event_pb2.Event.FromString(contents[12 : 12 + length])
    contents = contents[16 + length :]


def scalars(logdir):
  """Tag -> [(step, value), ...] of all files in a log directory."""
  found = {}
  for path in sorted(logdir.glob('events.out.tfevents.*')):
    for event in read(path):
      for value in event.summary.value:
        if value.HasField('simple_value'):
          points = found.setdefault(value.tag, [])
          points.append((event.step, value.simple_value))
  return found
