"""The results of the kit on all libraries, as a page in Markdown."""

from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

_MARKS = {'pass': 'yes', 'not applicable': '-', 'fail': 'NO', 'error': 'ERROR'}
_KINDS = {'definition': 'a difference by definition', 'defect': 'a defect'}
_NOT_JUDGED = {'about': 'Not judged yet.', 'properties': {}}
_INTRODUCTION = """\
# The conformance kit on other libraries

This page is generated from `conformance.json` (measured) and `judgements.json`
(written by hand) by

    python -m benchmarks.conformance

How it is measured, and when it was, is in [the results](../README.md). In the
table, `yes`: the property holds; `NO`: a counter-example was found; `-`: the
function lacks what the property is about."""

Record = Mapping[str, Any]


def page(record: Record, judgements: Record) -> str:
  """Returns the whole page.

  Args:
    record: `sentences` and, under `libraries`, what `checking.record` returned.
    judgements: of every library `about`, and under `properties` the `kind`, a
      key of `_KINDS`, and the reason `why` of each property that fails.
  """
  sections = [_INTRODUCTION, '\n'.join(_table(record))]
  for name, library in record['libraries'].items():
    sections += _section(name, library, judgements.get(name, _NOT_JUDGED))
  return '\n\n'.join(sections) + '\n'


def failing(library: Record) -> list[str]:
  """Returns the names of the properties that do not hold."""
  return [
    name
    for name, result in library['results'].items()
    if result['status'] in ('fail', 'error')
  ]


def _table(record: Record) -> Iterator[str]:
  """Yields a row for each property, with a column for each library."""
  libraries = record['libraries']
  columns = [f'[{name}](#{name})' for name in libraries]
  yield f'| property | what holds | {" | ".join(columns)} |'
  yield '|---' * (2 + len(columns)) + '|'
  for name, sentence in record['sentences'].items():
    marks = [_MARKS[x['results'][name]['status']] for x in libraries.values()]
    yield f'| {name} | {sentence} | {" | ".join(marks)} |'


def _section(name: str, library: Record, judgement: Record) -> Iterator[str]:
  """Yields the paragraphs about a library, and its failures one by one."""
  versions = ', '.join(f'{k} {v}' for k, v in library['versions'].items())
  yield f'## {name}'
  yield f'`{library["function"]}`; {versions}.'
  yield judgement['about']
  lacks = _lacks(library)
  if lacks:
    yield f'Not applicable: {lacks}.'
  for names in _by_reason(failing(library), judgement['properties']):
    judged = judgement['properties'].get(names[0])
    yield from _failures(names, library, judged)


def _by_reason(names: list[str], judged: Record) -> list[list[str]]:
  """Groups properties that fail for one and the same reason."""
  groups = {}
  for name in names:
    groups.setdefault(str(judged.get(name)), []).append(name)
  return list(groups.values())


def _failures(
  names: list[str], library: Record, judged: Record | None
) -> Iterator[str]:
  """Yields what is said of properties that fail for one and the same reason.

  The counter-example is that of the first; the record has the others.
  """
  what = (
    f'{_KINDS[judged["kind"]]}. {judged["why"]}' if judged else 'not judged.'
  )
  yield f'**{", ".join(names)}**: {what}'
  example = library['results'][names[0]]['counter_example']
  yield '\n'.join(f'    {line}'.rstrip() for line in example.splitlines())


def _lacks(library: Record) -> str:
  """Returns the reasons why properties are not applicable, each once."""
  reasons = {}
  for name, result in library['results'].items():
    if result['status'] == 'not applicable':
      reasons.setdefault(result['counter_example'], []).append(name)
  return '; '.join(
    f'{", ".join(names)} ({reason})' for reason, names in reasons.items()
  )
