"""Docstrings of functions say what a function does: they begin with a verb.

The list of verbs cannot tell a verb from a plural noun of the same spelling.
"""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
FOLDERS = (
  'vtrace',
  'agents',
  'envs',
  'experiments',
  'benchmarks',
  'docs',
  'examples',
  'notebooks',
  'tests',
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Third-person verbs that a docstring may begin with; add one if it is a verb.
VERBS = frozenset(
  """
  Acts Adds Advances Applies Bootstraps Broadcasts Builds Calls Casts Checks
  Clips Closes Compares Compiles Computes Concatenates Converts Convolves Copies
  Counts Declares Defines Disables Does Doubles Draws Enables Encodes Ends
  Enumerates Evaluates Executes Finds Flips Formats Frees Gathers Gives Groups
  Hashes Imports Initializes Iterates Joins Keeps Kills Lets Limits Logs Makes
  Maps Marks Measures Moves Opens Packs Pads Parses Plays Plots Polls Prepares
  Prints Puts Raises Re-measures Reads Rearranges Recomputes Records Releases
  Removes Replaces Replicates Resets Restores Resumes Returns Runs Samples
  Scales Sends Sets Shifts Splits Spreads Stacks Starts Steps Stops Stores
  Summarizes Sums Takes Trains Truncates Turns Unmasks Unpacks Validates Waits
  Walks Works Wraps Writes Yields
  """.split()  # noqa: SIM905
)


def is_property(function):
  """Returns whether a function is read like a field."""
  names = (ast.unparse(decorator) for decorator in function.decorator_list)
  return any(name.split('.')[-1].endswith('property') for name in names)


def first_words(source):
  """Yields (line, name, first word) of every function's docstring."""
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, FUNCTIONS) and not is_property(node):
      docstring = ast.get_docstring(node)
      if docstring:
        yield node.lineno, node.name, docstring.split()[0].rstrip('.,:;')


@pytest.mark.parametrize('folder', FOLDERS)
def test_docstrings_of_functions_begin_with_a_verb(folder):
  paths = list((ROOT / folder).rglob('*.py'))
  assert paths
  others = [
    f'{path.relative_to(ROOT)}:{line} {name}: {word}'
    for path in paths
    for line, name, word in first_words(path.read_text())
    if word not in VERBS
  ]
  assert not others, 'Begin with a verb in the third person (see VERBS).'


def test_a_docstring_that_begins_with_a_noun_is_found():
  source = """
class C:
  @property
  def size(self):
    '''The size.'''

  def grow(self):
    '''Returns the new size.'''
    def inner():
      '''What grows.'''

  @functools.cached_property
  def area(self):
    '''The area.'''
"""
  assert [word for *_, word in first_words(source)] == ['Returns', 'What']
