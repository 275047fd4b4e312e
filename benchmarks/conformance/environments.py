"""A virtual environment for each library, with pinned versions."""

import pathlib
import subprocess
import sys

_ADAPTERS = pathlib.Path(__file__).parent / 'adapters'


def names() -> list[str]:
  """Returns the names of all adapters, those with a file of requirements."""
  return sorted(path.stem for path in _ADAPTERS.glob('*.txt'))


def python(folder: pathlib.Path, library: str) -> pathlib.Path:
  """Returns the interpreter of a library's environment in `folder`.

  What is missing is made: a virtual environment and in it, line by line and in
  this order, what the library's file of requirements lists.

  Raises:
    CalledProcessError: if something cannot be installed.
  """
  home = folder.absolute() / library
  interpreter = home / 'bin' / 'python'
  complete = home / '.complete'
  requirements = (_ADAPTERS / f'{library}.txt').read_text()
  if not complete.exists() or complete.read_text() != requirements:
    _run(sys.executable, '-m', 'venv', home)
    for line in requirements.splitlines():
      _run(interpreter, '-m', 'pip', 'install', '--quiet', *line.split())
    complete.write_text(requirements)
  return interpreter


def _run(*command: str | pathlib.Path) -> None:
  print('+', *command, file=sys.stderr)
  subprocess.run(command, check=True)
