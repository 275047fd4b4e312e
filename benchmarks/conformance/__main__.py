"""Runs the conformance kit on the V-trace functions of other libraries.

python -m benchmarks.conformance
python -m benchmarks.conformance --library=rlax,nle

Each library runs in a process of its own, in a virtual environment of its own.
One that is missing is made in the folder `--venvs`; all of them take 15 GB and
a quarter of an hour. The results are written to the folder `--out`, where
`judgements.json`, written by hand, says why a property does not hold.
"""

import json
import pathlib
import subprocess

from absl import flags

from benchmarks.conformance import checking
from benchmarks.conformance import environments
from benchmarks.conformance import remote as remote_lib
from benchmarks.conformance import table
from experiments import cli
from experiments import config as config_lib
from experiments.records import atomic_file
from experiments.records import strict_json


def main() -> None:
  """Checks the chosen libraries; the results of the others stay."""
  out, venvs = (
    config_lib.path(x) for x in (flags.FLAGS.out, flags.FLAGS.venvs)
  )
  out.mkdir(parents=True, exist_ok=True)
  record = _read(out / 'conformance.json')
  for name in _chosen(flags.FLAGS.library):
    record['libraries'][name] = _check(venvs, name)
    failing = table.failing(record['libraries'][name])
    print(f'{name:<16}fails: {", ".join(failing) or "none"}')
  record['sentences'] = checking.sentences()
  record['libraries'] = dict(sorted(record['libraries'].items()))
  _write(out / 'conformance.json', strict_json.dumps(record, indent=2) + '\n')
  judgements = _read(out / 'judgements.json')['libraries']
  _write(out / 'README.md', table.page(record, judgements))


def _check(venvs: pathlib.Path, name: str) -> dict:
  """Returns the record of a library, which is installed if it is missing.

  Raises:
    ConfigError: if the library cannot be installed or imported. The reason is
      on standard error.
  """
  try:
    python = environments.python(venvs, name)
    with remote_lib.connect(python, name) as remote:
      return checking.record(remote)
  except (subprocess.CalledProcessError, EOFError) as error:
    raise config_lib.ConfigError(
      f'{name} cannot be installed or imported; see above.'
    ) from error


def _chosen(names: list[str]) -> list[str]:
  """Returns the chosen libraries, all of them if none is named.

  Raises:
    ConfigError: if a library is not known.
  """
  known = environments.names()
  for name in names:
    if name not in known:
      raise config_lib.ConfigError(
        f'--library={name}: known are {", ".join(known)}.'
      )
  return names or known


def _read(path: pathlib.Path) -> dict:
  return json.loads(path.read_text()) if path.exists() else {'libraries': {}}


def _write(path: pathlib.Path, text: str) -> None:
  with atomic_file.replacing(path) as temporary:
    temporary.write_text(text)


if __name__ == '__main__':
  flags.DEFINE_list('library', [], 'Libraries to check; all by default.')
  flags.DEFINE_string(
    'venvs', 'runs/venvs', 'Folder of the virtual environments.'
  )
  flags.DEFINE_string('out', 'results/conformance', 'Folder of the results.')
  cli.run(main)
