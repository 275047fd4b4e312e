"""The committed results of the conformance kit on other libraries are current.

rlax alone is installed with the tests; its function is checked again.
"""

import json
import pathlib
import re
import sys
import types

import numpy as np
import pytest

from benchmarks.conformance import checking
from benchmarks.conformance import environments
from benchmarks.conformance import remote as remote_lib
from benchmarks.conformance import server
from benchmarks.conformance import table
from benchmarks.conformance.adapters import rlax as rlax_adapter

RESULTS = pathlib.Path(__file__).parent.parent / 'results' / 'conformance'
RECORD = json.loads((RESULTS / 'conformance.json').read_text())
JUDGEMENTS = json.loads((RESULTS / 'judgements.json').read_text())['libraries']
LIBRARIES = RECORD['libraries']
# Those that do not hold for rlax, and of the others a few, to save time.
CHECKED_AGAIN = 'lambda in advantages', 'no gradient', 'c_bar', 'targets'


def test_the_page_is_made_of_the_record():
  page = (RESULTS / 'README.md').read_text()
  assert page == table.page(RECORD, JUDGEMENTS)


def test_every_adapter_has_results_for_every_property():
  assert list(LIBRARIES) == environments.names()
  assert len(LIBRARIES) >= 5
  assert RECORD['sentences'] == checking.sentences()
  for library in LIBRARIES.values():
    assert list(library['results']) == list(RECORD['sentences'])


@pytest.mark.parametrize('name', LIBRARIES)
def test_every_failure_and_nothing_else_is_judged(name):
  judged = JUDGEMENTS[name]['properties']
  assert set(judged) == set(table.failing(LIBRARIES[name]))
  for judgement in judged.values():
    assert judgement['kind'] in ('definition', 'defect')


@pytest.mark.parametrize('name', LIBRARIES)
def test_the_reports_of_the_judgements_exist(name):
  text = json.dumps(JUDGEMENTS[name])
  reports = set(re.findall(r'\(reports/(\w+)\.md\)', text))
  kinds = [x['kind'] for x in JUDGEMENTS[name]['properties'].values()]
  assert reports or 'defect' not in kinds
  for report in reports:
    assert (RESULTS / 'reports' / f'{report}.md').exists()


@pytest.mark.parametrize('name', LIBRARIES)
def test_the_versions_are_those_that_the_adapter_pins(name):
  adapters = pathlib.Path(server.__file__).parent / 'adapters'
  pins = re.findall(
    r'([\w-]+)(?:\[\w+\])?==(\S+)', (adapters / f'{name}.txt').read_text()
  )
  versions = LIBRARIES[name]['versions']
  assert {k: v.split('+')[0] for k, v in versions.items() if k != 'python'} == (
    dict(pins)
  )


@pytest.mark.parametrize('name', LIBRARIES)
def test_the_summary_of_the_results_counts_every_property(name):
  library = LIBRARIES[name]
  package = library['package']
  statuses = [x['status'] for x in library['results'].values()]
  counts = (
    statuses.count('pass'),
    len(table.failing(library)),
    statuses.count('not applicable'),
  )
  assert sum(counts) == len(RECORD['sentences'])
  row = ' | '.join(map(str, counts))
  title = f'{package} {library["versions"][package]}'
  page = (RESULTS.parent / 'README.md').read_text()
  assert f'| {title} | `{library["function"]}` | {row} |' in page


@pytest.mark.slow
def test_rlax_still_has_the_committed_statuses():
  in_process = types.SimpleNamespace(
    description=server.describe(rlax_adapter),
    vtrace=rlax_adapter.vtrace,
    gradient=rlax_adapter.gradient,
  )
  results = checking.results(in_process, CHECKED_AGAIN)
  committed = LIBRARIES['rlax']['results']
  for name in CHECKED_AGAIN:
    assert results[name]['status'] == committed[name]['status'], name
  assert set(table.failing(LIBRARIES['rlax'])) <= set(CHECKED_AGAIN)


@pytest.mark.slow
def test_a_function_in_another_process_gives_the_same_and_tells_its_errors():
  rng = np.random.default_rng(0)
  arrays = [rng.normal(size=(4, 2)).astype(np.float32) for _ in range(4)]
  arrays.append(arrays[0][0] + 1)
  keywords = {
    'clip_rho_threshold': 0.8,
    'clip_pg_rho_threshold': None,
    'lambda_': 0.7,
  }
  with remote_lib.connect(pathlib.Path(sys.executable), 'rlax') as remote:
    found = remote.vtrace(*arrays, **keywords)
    with pytest.raises(remote_lib.LibraryError, match='TypeError'):
      remote.vtrace(*arrays, clip_c_threshold=1.0)
    assert remote.description == server.describe(rlax_adapter)
  for one, other in zip(found, rlax_adapter.vtrace(*arrays, **keywords)):
    np.testing.assert_allclose(one, other, rtol=1e-6)
  nowhere = remote_lib.connect(pathlib.Path(sys.executable), 'no_such_adapter')
  with pytest.raises(EOFError), nowhere:
    pass
