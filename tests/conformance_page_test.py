"""The page of the conformance kit, and its command."""

import pathlib
import re
import subprocess
import sys
import types

import numpy as np
import pytest

from tests import conforming
from tests import vtrace_mutants
import vtrace
from vtrace import conformance
from vtrace.conformance import __main__ as command

PAGE = pathlib.Path(__file__).parent.parent / 'docs' / 'conformance.md'
numpy_vtrace = vtrace_mutants.numpy_vtrace


class MyLearner:
  """The learner of the page: batch-major, settings in `self`."""

  def __init__(self, rho_clip, c_clip):
    self.clips = dict(
      clip_rho_threshold=rho_clip,
      clip_c_threshold=c_clip,
      clip_pg_rho_threshold=rho_clip,
    )

  def vtrace(self, batch, values, bootstrap_value):
    with np.errstate(divide='ignore'):
      log_rhos = np.log(batch['ratio'])
    inputs = log_rhos, batch['discount'], batch['reward'], values
    return conforming.batch_major(*inputs, bootstrap_value, **self.clips)


@pytest.mark.parametrize('name', ('learner', 'transitions', 'own property'))
def test_the_code_of_the_page_works(name, monkeypatch):
  # The block of JAX, which takes longer, runs in commands_test.
  library = types.SimpleNamespace(
    MyLearner=MyLearner,
    my_transitions_function=vtrace_mutants.vtrace_of_transitions,
  )
  monkeypatch.setitem(sys.modules, 'my_library', library)
  blocks = re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL)
  (block,) = (
    block
    for block in blocks
    if {
      'learner': 'check_learner.py',
      'transitions': 'check_transitions.py',
      'own property': 'conformance.Property(',
    }[name]
    in block
  )
  names = {}
  exec(block, names)
  assert names['report'].passed, names['report']


def test_the_page_lists_every_property_and_a_real_counter_example():
  page = PAGE.read_text()
  rows = [f'| {one.name} | {one.sentence} |' for one in conformance.PROPERTIES]
  assert '\n'.join(rows) in page
  report = conformance.check(
    vtrace_mutants.MUTANTS['truncation'], properties=['truncation']
  )
  assert report.results[0].counter_example in page
  exact = [one.name for one in conformance.PROPERTIES if one.exact]
  *first, last = (f'"{name}"' for name in exact)
  (sentence,) = re.findall(
    r'^("Zero.*?) have a\ntolerance of 0', page, re.MULTILINE
  )
  assert sentence.lower() == f'{", ".join(first)} and {last}'


@pytest.mark.parametrize(
  'arguments,status,words',
  (
    (['tests.vtrace_mutants:numpy_vtrace', '--ranks=1,2,3'], 0, '0 fail'),
    (['tests.vtrace_mutants:three_steps'], 1, 'Smallest counter-example'),
    (
      ['tests.vtrace_mutants:numpy_vtrace', '--batch_major'],
      1,
      'error: ',
    ),
    (
      ['tests.vtrace_mutants:numpy_vtrace', '--without=lambda_,None'],
      0,
      '5 not applicable',
    ),
    (
      [
        'tests.vtrace_mutants:numpy_vtrace',
        '--properties=dtype,c_bar',
        '--dtype=float64',
      ],
      0,
      '2 pass',
    ),
    (['--list'], 0, 'single step'),
  ),
  ids=lambda x: str(x),
)
def test_the_command_prints_a_report_and_returns_a_status(
  arguments, status, words, capsys
):
  assert command.main(arguments) == status
  assert words in capsys.readouterr().out


def test_the_command_checks_gradients_of_jax_functions(capsys):
  arguments = ['tests.vtrace_mutants:with_gradient', '--jax']
  assert command.main([*arguments, '--properties=no gradient,targets']) == 1
  out = capsys.readouterr().out
  assert '1 pass, 1 fail' in out and 'gradient in values' in out


def advantages_of_unclipped_weights(*inputs, **keywords):
  return numpy_vtrace(*inputs, **keywords, clip_pg_rho_threshold=None)


def test_the_command_takes_a_threshold_that_is_always_none(capsys):
  fn = f'{__name__}:advantages_of_unclipped_weights'
  assert command.main([fn, '--without=clip_pg_rho_threshold=None']) == 0
  assert command.main([fn, '--without=clip_pg_rho_threshold']) == 1
  assert 'advantages' in capsys.readouterr().out


def of_python_numbers(*inputs, lambda_, **keywords):
  if lambda_ < 1:  # A tracer has no truth value.
    keywords['clip_c_threshold'] *= lambda_
  return vtrace.from_importance_weights(*inputs, **keywords)


def test_the_command_passes_settings_to_jax_as_python_numbers(capsys):
  chosen = '--properties=targets'
  assert command.main([f'{__name__}:of_python_numbers', '--jax', chosen]) == 0
  assert '1 pass' in capsys.readouterr().out


@pytest.mark.parametrize(
  'arguments',
  (
    ['tests.vtrace_mutants'],
    ['tests.no_such_module:fn'],
    ['tests.vtrace_mutants:no_such_function'],
    ['tests.vtrace_mutants:MUTANTS'],
    ['tests.vtrace_mutants:numpy_vtrace', '--without=lambda'],
    ['tests.vtrace_mutants:numpy_vtrace', '--dtype=complex64'],
    ['tests.vtrace_mutants:numpy_vtrace', '--ranks=a'],
  ),
  ids=str,
)
def test_the_command_rejects_what_it_cannot_check(arguments, capsys):
  with pytest.raises(SystemExit) as error:
    command.main(arguments)
  assert error.value.code == 2 and 'error: ' in capsys.readouterr().err


def test_the_command_ends_with_its_status():
  result = subprocess.run(
    [
      sys.executable,
      '-m',
      'vtrace.conformance',
      'tests.vtrace_mutants:three_steps',
    ],
    capture_output=True,
    text=True,
    check=False,
    timeout=300,
  )
  assert result.returncode == 1, result.stderr
  assert 'time consistency' in result.stdout and not result.stderr
