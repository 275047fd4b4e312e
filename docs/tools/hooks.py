"""Hooks of mkdocs: links that leave docs/, and the pages of the API reference.

The sources link to each other by relative paths, so that they work wherever the
repository is shown. Some files outside docs/ become pages or pictures of the
site; links to all other files lead to the repository, at the address that
setup.py gives.
"""

import itertools
import pathlib
import posixpath
import re
from typing import Any

from mkdocs.structure import files as files_lib

from notebooks import compiling

ROOT = pathlib.Path(__file__).parent.parent.parent
# Files outside docs/ that the site contains, at the same paths.
_PAGES = frozenset(
  str(path.relative_to(ROOT))
  for path in (ROOT / 'WORKSPACE.md', *ROOT.glob('results/**/*.md'))
)
_PICTURES = 'results/**/*.png'
# Page of the API reference -> the modules on it.
_REFERENCE = {
  'vtrace': (
    'vtrace/targets.py',
    'vtrace/corrections.py',
    'vtrace/losses.py',
    'vtrace/*.py',
    'vtrace/conformance/__init__.py',
  ),
  'agents': ('agents/*.py',),
  'networks': ('agents/networks/*.py',),
  'envs': ('envs/*.py',),
  'experiments': (
    'experiments/config.py',
    'experiments/train.py',
    'experiments/check.py',
    'experiments/training/policy.py',
    'experiments/training/evaluation.py',
    'experiments/training/parts.py',
    'experiments/training/setup.py',
    'experiments/training/builders.py',
    'experiments/plotting/pages.py',
  ),
}
_LINK = re.compile(r'(?<=\]\()[^)\s:#]+(?=[)#])')


def on_config(config: Any) -> Any:
  """Adds a link to the repository at the foot of every page."""
  config.copyright = f'<a href="{repository()}">The repository</a>'
  return config


def on_files(files: Any, config: Any) -> Any:
  """Adds the files outside docs/ and the pages of the API reference."""
  pictures = (str(path.relative_to(ROOT)) for path in ROOT.glob(_PICTURES))
  for uri in (*sorted(_PAGES), *pictures):
    path = str(ROOT / uri)
    files.append(files_lib.File.generated(config, uri, abs_src_path=path))
  for name in _REFERENCE:
    uri, text = f'api/{name}.md', _reference(name)
    files.append(files_lib.File.generated(config, uri, content=text))
  return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
  """Replaces the relative links of a page by those of the site."""
  del config
  uri = page.file.src_uri
  source = posixpath.dirname(uri if uri in _PAGES else f'docs/{uri}')

  def rewrite(match: re.Match[str]) -> str:
    path = posixpath.normpath(posixpath.join(source, match[0]))
    target = 'index.md' if path == 'README.md' else path.removeprefix('docs/')
    if files.get_file_from_path(target) is None and path == target:
      return f'{repository()}/blob/main/{path}'
    return posixpath.relpath(target, posixpath.dirname(uri) or '.')

  return markdown if uri.startswith('api/') else _LINK.sub(rewrite, markdown)


def repository() -> str:
  """Returns the address of the repository, which stands in setup.py alone."""
  return compiling.project_url((ROOT / 'setup.py').read_text())


def _reference(name: str) -> str:
  """Returns the Markdown of a page of the API reference."""
  names = (module.removesuffix('.__init__') for module in _modules(name))
  modules = ''.join(f'::: {module}\n\n' for module in names if '.' in module)
  return f'# {name}\n\n{modules}'


def _modules(name: str) -> dict[str, None]:
  """Returns the modules on a page of the API reference, in order."""
  paths = (sorted(ROOT.glob(pattern)) for pattern in _REFERENCE[name])
  return dict.fromkeys(
    '.'.join(path.relative_to(ROOT).with_suffix('').parts)
    for path in itertools.chain(*paths)
  )
