"""An extension of griffe: makes docstrings fit for the API reference.

Equations are indented by two spaces in docstrings; Markdown wants four. Fields
of a NamedTuple are described by comments, beside them or above; griffe wants a
docstring.
"""

import re
from typing import Any

import griffe

_SECTION = re.compile(r'(Args|Returns|Raises|Yields):\n')


class Extension(griffe.Extension):
  """Changes docstrings before they are parsed."""

  def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
    """Makes blocks of code of equations."""
    del kwargs
    if obj.docstring:
      obj.docstring.value = with_equations(obj.docstring.value)

  def on_class_members(self, *, cls: griffe.Class, **kwargs: Any) -> None:
    """Gives the fields of a class their comments as docstrings."""
    del kwargs
    source = cls.source.splitlines()
    for name, field in cls.attributes.items():
      if not field.docstring and not name.startswith('_'):
        text = comment(source, field.lineno - cls.lineno)
        if text:
          field.docstring = griffe.Docstring(text, parent=field)


def with_equations(docstring: str) -> str:
  """Moves paragraphs that are equations to the right by two spaces."""
  paragraphs, in_section = [], False
  for paragraph in docstring.split('\n\n'):
    is_indented = all(line.startswith('  ') for line in paragraph.splitlines())
    if not is_indented:
      in_section = bool(_SECTION.match(paragraph))
    elif not in_section:
      paragraph = re.sub('^', '  ', paragraph, flags=re.M)
    paragraphs.append(paragraph)
  return '\n\n'.join(paragraphs)


def comment(source: list[str], line: int) -> str:
  """Returns the comment beside or above a line, without its signs."""
  _, _, beside = source[line].partition('  # ')
  above = []
  while line and source[line - 1].strip().startswith('# '):
    line -= 1
    above.insert(0, source[line].strip()[2:])
  return ' '.join([*above, beside] if beside else above)
