"""The pages of docs/: what they name exists, and they can be built.

`commands_test` runs their commands.
"""

import importlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

from experiments.records import metrics_csv

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [
  ROOT / 'README.md',
  ROOT / 'WORKSPACE.md',
  *ROOT.glob('docs/*.md'),
  *ROOT.glob('results/**/*.md'),
]


def modules_called(stem):
  """Yields the modules of the repository whose files have this name."""
  for package in ('vtrace', 'agents', 'envs', 'experiments'):
    for path in (ROOT / package).rglob(f'{stem}.py'):
      parts = path.relative_to(ROOT).with_suffix('').parts
      yield importlib.import_module('.'.join(parts))


def has(found, attributes):
  """Returns whether an object has an attribute that has an attribute ..."""
  for attribute in filter(None, attributes):
    found = getattr(found, attribute, None)
  return found is not None


def test_every_name_of_the_tour_exists():
  page = (ROOT / 'docs' / 'tour.md').read_text()
  names = re.findall(r'`([a-z_]+)\.(\w+)(?:\.(\w+))?`', page)
  # `agent` is a variable there, and metrics.csv a file.
  others = ('agent', 'unroll', ''), ('metrics', 'csv', '')
  names = set(names).difference(others)
  names = [name for name in names if name[0] not in ('dm_env', 'jax')]
  assert len(names) > 30
  for stem, *attributes in names:
    found = modules_called(stem)
    assert any(has(module, attributes) for module in found), (stem, attributes)


def test_the_columns_that_tuning_explains_are_those_of_metrics_csv():
  page = (ROOT / 'docs' / 'tuning.md').read_text()
  explained = set()
  for line in page.splitlines():
    if line.startswith('| `'):
      explained |= set(re.findall(r'`(\w+)`', line.split(' | ')[0]))
  counters = {'num_frames', 'num_updates', 'num_episodes'}
  counters |= {'seconds', 'wall_time', 'loss'}
  assert explained == set(metrics_csv.COLUMNS) - counters


@pytest.mark.parametrize('page', PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_relative_link_of_a_page_exists(page):
  targets = re.findall(r'\]\(([^)\s#]+)(?:#[^)\s]*)?\)', page.read_text())
  relative = [target for target in targets if '://' not in target]
  missing = [path for path in relative if not (page.parent / path).exists()]
  assert not missing


def test_the_address_of_the_repository_stands_in_setup_py_alone():
  (url,) = re.findall(r"url='(.*)'", (ROOT / 'setup.py').read_text())
  for path in (*PAGES, ROOT / 'mkdocs.yml', *ROOT.glob('docs/tools/*')):
    assert path.is_dir() or url not in path.read_text(), path


def test_the_page_of_flags_is_that_of_the_commands():
  result = subprocess.run(
    [sys.executable, '-m', 'docs.tools.flags_page'],
    cwd=ROOT,
    check=True,
    capture_output=True,
    text=True,
  )
  hint = 'Write it again: python -m docs.tools.flags_page > docs/flags.md'
  assert result.stdout == (ROOT / 'docs' / 'flags.md').read_text(), hint


@pytest.mark.slow
def test_the_site_is_built_without_warnings_and_fetches_nothing(tmp_path):
  pytest.importorskip('mkdocs')
  # Not --quiet: --strict would not see the warnings.
  command = [sys.executable, '-m', 'mkdocs', 'build', '--strict']
  subprocess.run(
    [*command, f'--site-dir={tmp_path}'],
    cwd=ROOT,
    check=True,
    env=os.environ | {'NO_MKDOCS_2_WARNING': '1'},
  )
  reference = (tmp_path / 'api' / 'vtrace.html').read_text()
  assert 'id="vtrace.targets.from_importance_weights"' in reference
  assert '<code>delta_t = rho_t' in reference  # An equation, as written.
  assert 'the value targets v_s' in reference  # The comment of a field.
  fetched = re.compile(r'<(?:script|link|img|iframe)[^>]*="(?:https?:)?//')
  for page in tmp_path.rglob('*.html'):
    assert not fetched.search(page.read_text()), page
