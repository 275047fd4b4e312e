"""Writes docs/flags.md: every flag of every command.

python -m docs.tools.flags_page > docs/flags.md

The tables come from `config.Config` and from the flags that the commands
define, so the page holds nothing that --help does not print.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import pathlib
import runpy
import sys
from typing import Any
from unittest import mock

from absl import flags

from experiments import cli
from experiments import config as config_lib

ROOT = pathlib.Path(__file__).parent.parent.parent
_COMMANDS = (  # In the order of the page.
  'train',
  'evaluate',
  'plot',
  'benchmark',
  'check',
  'ablation',
  'fixed_points',
  'recompute',
  'soak',
)
_INTRODUCTION = """\
# Every flag

This page is generated from `experiments/config.py` and from the commands:
`python -m docs.tools.flags_page > docs/flags.md`. A test compares the two.

In Python the same names are the fields of `config.Config` and the keywords of
`config.from_preset`. A preset overrides a default; a flag overrides both.
"""


def page() -> str:
  """Returns the text of docs/flags.md."""
  parts = [
    _INTRODUCTION,
    '## Settings of a run\n',
    'For `train`, `benchmark` and `check`, beside `--preset`. A resumed run '
    'may have another value of `--num_frames` and of the flags marked '
    '*resumable*, and of no other.\n',
    *_settings(),
    _presets(),
    '## Flags of single commands\n',
    *(_own_flags(command) for command in _COMMANDS),
  ]
  return '\n'.join(parts)


def _settings() -> Iterator[str]:
  """Yields a heading and a table for each group of fields of `Config`."""
  groups = _groups()
  for title, names in groups.items():
    yield f'### {title}\n'
    fields = dataclasses.fields(config_lib.Config)
    rows = [_setting(field) for field in fields if field.name in names]
    yield _table(('Flag', 'Default', 'Values', 'Meaning'), rows)


def _groups() -> dict[str, list[str]]:
  """Returns {title: names}, from the comments between the fields."""
  source = (ROOT / 'experiments' / 'config.py').read_text()
  _, body = source.split('class Config:')
  names = {field.name for field in dataclasses.fields(config_lib.Config)}
  groups, title = {}, ''
  for line in body.splitlines():
    if line.startswith('  # ') and line.endswith('.'):
      title = line[4:-1]
    name = line.strip().partition(':')[0]
    if line.startswith('  ') and line[2:3] != ' ' and name in names:
      groups.setdefault(title, []).append(name)
  return groups


def _setting(field: dataclasses.Field) -> tuple[str, ...]:
  """Returns the row of a field: flag, default, values, help."""
  metadata = field.metadata
  text = metadata['help']
  if metadata['resumable']:
    text += ' *Resumable.*'
  return f'`--{field.name}`', _code(field.default), _values(field), text


def _values(field: dataclasses.Field) -> str:
  """Returns the values that a field may have."""
  if field.metadata['choices']:
    return ', '.join(f'`{name}`' for name in field.metadata['choices'])
  if field.metadata['bounds']:
    low, high = field.metadata['bounds']
    return f'{low:g} to {_bound(high)}'
  return {bool: 'on or off', str: 'text'}[field.type]


def _bound(high: float) -> str:
  """Returns an upper bound, in words where it is only that of the format."""
  names = {2**53: '2^53', 2**32 - 1: '2^32 - 1'}
  if high in names:
    return names[high]
  if high == sys.float_info.max:
    return 'any finite number'
  return f'{high:,.0f}'


def _presets() -> str:
  """Returns the section of the presets."""
  lines = ['### Presets\n']
  for name, values in config_lib.PRESETS.items():
    listed = ', '.join(f'`{k}={v}`' for k, v in values.items())
    lines.append(f'- `--preset={name}`: {listed or "the defaults"}.')
  return '\n'.join(lines) + '\n'


def _own_flags(command: str) -> str:
  """Returns the section of a command, with the flags that it defines."""
  with _defining(command) as own:
    rows = [
      (f'`--{flag.name}`', _code(flag.default), flag.help) for flag in own
    ]
    heading = f'### {command}\n\n'
    if not rows:
      return f'{heading}`{command}` has no flags of its own.\n'
    return heading + _table(('Flag', 'Default', 'Meaning'), rows)


@contextlib.contextmanager
def _defining(command: str) -> Iterator[list[flags.Flag]]:
  """Runs a command up to `cli.run`; yields its own flags, then removes all."""
  before = set(flags.FLAGS)
  with mock.patch.object(cli, 'run'):
    runpy.run_module(f'experiments.{command}', run_name='__main__')
  defined = [name for name in flags.FLAGS if name not in before]
  place = flags.FLAGS.find_module_defining_flag
  try:  # absl calls the module that runs as __main__ by the program's name.
    yield [flags.FLAGS[n] for n in defined if place(n) == sys.argv[0]]
  finally:
    for name in defined:
      delattr(flags.FLAGS, name)


def _code(value: Any) -> str:
  """Returns a value as code; nothing for what is empty by default."""
  if isinstance(value, bool):
    return 'on' if value else 'off'
  if value in (None, ''):
    return ''
  if isinstance(value, int):
    return f'`{value:_}`'
  return f'`{value:g}`' if isinstance(value, float) else f'`{value}`'


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
  """Returns a Markdown table."""
  lines = [header, ('---',) * len(header), *rows]
  cells = [[cell.replace('|', '\\|') for cell in line] for line in lines]
  return '\n'.join(f'| {" | ".join(line)} |' for line in cells) + '\n'


if __name__ == '__main__':
  print(page(), end='')
