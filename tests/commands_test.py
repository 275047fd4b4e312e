"""The commands of the documentation run as they are written.

Every `sh` and `python` block of a page runs, in order, in a copy of the
repository. What would take long gets a limit in `LIMITS`; what cannot run in a
test is named in `NOT_RUN`, with the reason.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sysconfig
import textwrap
from typing import NamedTuple
import venv

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = tuple(
  str(path.relative_to(ROOT))
  for path in (
    ROOT / 'README.md',
    ROOT / 'WORKSPACE.md',
    *sorted((ROOT / 'docs').glob('*.md')),
    ROOT / 'results' / 'README.md',
  )
)
LANGUAGES = {'sh', 'python', 'text', ''}
# An indented block that begins like this holds commands too.
BEGINNINGS = ('python ', 'make ', 'source ', 'pip ')

SHORT = '--num_frames=20_000'
TINY = '--num_frames=100 --envs_per_actor=2 --batch_size=2 --unroll_length=5'
TRAIN = 'python -m experiments.train'
# Command, as written -> what is added to it, so that it takes seconds.
LIMITS = {
  'make train': 'ARGS=--num_frames=20_000',
  f'{TRAIN} --preset=pong': TINY,
  f'{TRAIN} --preset=atari --env=Breakout-v5': TINY,
  f'{TRAIN} --preset=catch --env=CartPole-v1': SHORT,
  f'{TRAIN} --preset=catch --logdir=runs/a': SHORT,
  f'{TRAIN} --logdir=runs/a --num_frames=800_000': '--num_frames=30_000',
  f'{TRAIN} --preset=catch --agent=examples.own_agent:make_agent': SHORT,
  f'{TRAIN} --preset=catch --agent=my_agent:make_agent': SHORT,
  f'{TRAIN} --preset=catch --envs_per_actor=16 --replay_fraction=0.5': SHORT,
  f'{TRAIN} --preset=catch --logdir=runs/gru --learning_rate=1e-3 '
  '--agent=$OWN:make_agent --optimizer=$OWN:make_optimizer '
  '--loss=$OWN:make_loss': SHORT,
  'python -m experiments.evaluate --logdir=runs/gru': '--num_episodes=20',
  'python -m experiments.check --env=Pong-v5': '--seconds=1',
  'python -m experiments.fixed_points --out=fixed_points.png': '--num_mdps=2',
}
# Text of Python blocks -> what replaces it, so that they take seconds.
SHORTER = {"logdir='runs/n')": "logdir='runs/n', num_frames=20_000)"}
# Command, as written, or page -> why it does not run here.
NOT_RUN = {
  "pip install 'impala-jax[wandb]'": 'installs from a registry',
  'python -m experiments.benchmark --preset=pong': (
    'three minutes; profiling_test runs the profiler'
  ),
  'python -m experiments.benchmark --preset=pong --tune': (
    'ten minutes; profiling_test runs the profiler'
  ),
  'python -m experiments.ablation --quick': 'minutes; ablation_test runs it',
  'results/README.md': 'made the committed files, in minutes to hours',
}
# Command, or first line of a Python block -> what a reader has at that point.
BEFORE = {
  'import experiments': """
from envs import registry
timestep = registry.make('Catch', 1, 0).reset()
""",
  'import vtrace': """
import numpy as np
log_rhos, discounts, rewards, values = np.full([4, 5, 2], 0.5)
bootstrap_value = values[-1]
""",
  'python -m experiments.plot runs/a runs/b --out=figures': (
    f'{TRAIN} --logdir=runs/b {SHORT}'
  ),
  'python -m experiments.recompute runs/b/flight.npz': (
    f'rm -r runs/b && ! {TRAIN} --logdir=runs/b --learning_rate=1e30'
  ),
}
# Page -> what its commands print.
PRINTED = {'docs/environments.md': 'out after'}


class Block(NamedTuple):
  """A block of code of a page."""

  language: str
  text: str


def blocks(page):
  """Yields the fenced blocks of a page, and indented ones with commands."""
  text = (ROOT / page).read_text()
  fenced = re.compile(r'^```(\w*)\n(.*?)^```$', re.M | re.S)
  indented = re.compile(r'(?:(?<=\n\n)|\A)(?: {4}.*\n)+', re.M)
  for match in sorted(
    (*fenced.finditer(text), *indented.finditer(fenced.sub('\n', text))),
    key=lambda match: text.find(match[0]),
  ):
    if match.re is fenced:
      yield Block(match[1], match[2])
    elif match[0].strip().startswith(BEGINNINGS):
      yield Block('sh', textwrap.dedent(match[0]))


def commands(block):
  """Returns the commands of a block: one line each, without comments."""
  joined = re.sub(r' *\\\n *', ' ', block.text)
  lines = (re.sub(r'(^|\s)#.*', '', line) for line in joined.splitlines())
  return [line.strip() for line in lines if line.strip()]


def commands_of(page):
  """Returns the commands of all blocks of a page."""
  shell = (block for block in blocks(page) if block.language == 'sh')
  return [command for block in shell for command in commands(block)]


def has_code(page):
  return any(block.language in ('sh', 'python') for block in blocks(page))


def shortened(text):
  for old, new in SHORTER.items():
    text = text.replace(old, new)
  return text


def script(page):
  """Returns a script of bash with all blocks of a page, in order."""
  lines = ['set -ex']
  for block in blocks(page):
    if block.language == 'sh':
      for command in commands(block):
        if command not in NOT_RUN:
          limit = LIMITS.get(command, '')
          lines += [BEFORE.get(command, ''), f'{command} {limit}']
    elif block.language == 'python':
      first = block.text.splitlines()[0]
      is_file = re.fullmatch(r'# (\w+\.py)', first)
      goes_to = f'cat > {is_file[1]}' if is_file else 'python -'
      text = BEFORE.get(first, '') + shortened(block.text)
      lines.append(f"{goes_to} <<'END'\n{text}END")
  return '\n'.join(lines)


def copy_repository(folder):
  """Copies the files that git knows, and gives them a .venv like ours."""
  listed = subprocess.run(
    ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'],
    cwd=ROOT,
    check=True,
    capture_output=True,
    text=True,
  )
  for name in filter(None, listed.stdout.split('\0')):
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if (ROOT / name).exists():
      shutil.copy(ROOT / name, target)
  venv.create(folder / '.venv', symlinks=True)
  (site,) = (folder / '.venv').glob('lib/python*/site-packages')
  (site / 'packages.pth').write_text(sysconfig.get_path('purelib'))
  for name in ('.installed', '.tested-with'):
    (folder / '.venv' / name).touch()


def python_environment(folder):
  """Returns environment variables: python is that of the copy, on one CPU."""
  python = folder / '.venv' / 'bin'
  return os.environ | {
    'PATH': f'{python}{os.pathsep}{os.environ["PATH"]}',
    'XLA_FLAGS': '--xla_backend_optimization_level=0',
    'WANDB_MODE': 'offline',
  }


@pytest.mark.parametrize(
  'page', [page for page in PAGES if page not in NOT_RUN and has_code(page)]
)
@pytest.mark.slow
def test_the_commands_of_a_page_run(page, tmp_path):
  copy_repository(tmp_path)
  result = subprocess.run(
    ['bash', '-c', script(page)],
    cwd=tmp_path,
    env=python_environment(tmp_path),
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    timeout=600,
  )
  assert result.returncode == 0, result.stderr[-3000:]
  assert PRINTED.get(page, '') in result.stdout


def test_limits_and_reasons_belong_to_commands_that_are_written():
  written = {command for page in PAGES for command in commands_of(page)}
  firsts = {
    block.text.splitlines()[0]
    for page in PAGES
    for block in blocks(page)
    if block.language == 'python'
  }
  assert set(LIMITS) <= written
  assert set(NOT_RUN) <= written | set(PAGES)
  assert set(BEFORE) <= written | firsts
  texts = [block.text for page in PAGES for block in blocks(page)]
  assert all(any(old in text for text in texts) for old in SHORTER)


def test_every_block_is_marked_as_run_or_as_text():
  for page in PAGES:
    for block in blocks(page):
      assert block.language in LANGUAGES, page
      if block.language in ('', 'text'):
        assert not commands(block)[0].startswith(BEGINNINGS), page


def test_the_flags_of_all_commands_exist():
  flags = (ROOT / 'docs' / 'flags.md').read_text()
  for page in PAGES:
    for command in commands_of(page):
      if ' experiments.' in command:
        for flag in re.findall(r'--(\w+)', command):
          assert flag == 'preset' or f'`--{flag}`' in flags, command


def test_blocks_and_their_commands_are_found(tmp_path):
  page = tmp_path / 'page.md'
  page.write_text(
    'Text.\n\n    python -m a \\\n      --b=1  # Why.\n\n```sh\nc=2  # No.\n\n'
    'd $c\n```\n\n```python\nprint(1)\n```\n\n    not a command\n'
  )
  found = list(blocks(page))
  assert [block.language for block in found] == ['sh', 'sh', 'python']
  assert commands_of(page) == ['python -m a --b=1', 'c=2', 'd $c']
