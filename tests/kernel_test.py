"""Trainings in the kernel of a notebook, which is interrupted."""

import os
import pathlib
import types

import jupyter_client
import pytest

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parent.parent
PREPARE = """
import dataclasses, sys, threading, warnings
import experiments
from experiments import config, plot, train
from experiments.plotting import animation, live
from tests import own_envs

class Dice(own_envs.Dice):
  num_made = num_closed = 0

  def __init__(self, render_mode=None):
    super().__init__(render_mode)
    Dice.num_made += 1

  def close(self):
    Dice.num_closed += 1

class Printer:
  def write(self, row):
    print('row', row['num_updates'])

  def close(self):
    print('closed')

settings = config.from_preset(
  'catch', logdir='run', log_updates=5, num_frames=10**9, num_actors=2,
  envs_per_actor=4, batch_size=4, unroll_length=5
)
"""
SHOWN = ('display_data', 'update_display_data', 'execute_result')
INTERRUPTED = (
  'result = train.train(settings, make_env=Dice, writers=[Printer()])'
)


class Kernel:
  """A kernel, and the outputs of its cells."""

  def __init__(self, folder):
    """Starts the kernel in a folder."""
    env = {k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'}
    self._manager = jupyter_client.KernelManager(kernel_name='python3')
    self._manager.start_kernel(
      cwd=str(folder), env=env | {'PYTHONPATH': str(ROOT)}
    )
    self._client = self._manager.client()
    self._client.start_channels()
    self._client.wait_for_ready(timeout=120)

  def run(self, source, interrupt_at=None):
    """Runs a cell; interrupts the kernel once, when a text was printed.

    Returns:
      The streams `stdout` and `stderr`, the `data` of all displays, and the
      `traceback` of an error.
    """
    cell = types.SimpleNamespace(stdout='', stderr='', data=[], traceback=[])
    cell.is_interrupted = False

    def receive(message):
      kind, content = message['msg_type'], message['content']
      if kind == 'stream':
        text = getattr(cell, content['name']) + content['text']
        setattr(cell, content['name'], text)
      elif kind == 'error':
        cell.traceback = content['traceback']
      elif kind in SHOWN:
        cell.data.append(content['data'])
      is_due = interrupt_at is not None and interrupt_at in cell.stdout
      if is_due and not cell.is_interrupted:
        cell.is_interrupted = True
        self._manager.interrupt_kernel()

    self._client.execute_interactive(
      source, output_hook=receive, timeout=300, allow_stdin=False
    )
    return cell

  def close(self):
    """Ends the kernel."""
    self._client.stop_channels()
    self._manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(tmp_path):
  kernel = Kernel(tmp_path)
  assert not kernel.run(PREPARE).traceback
  yield kernel
  kernel.close()


def value(kernel, expression):
  """Returns what an expression prints."""
  cell = kernel.run(f'print({expression})')
  assert not cell.traceback, '\n'.join(cell.traceback)
  return cell.stdout.strip()


def texts(cell):
  return [data.get('text/plain', '') for data in cell.data]


def test_an_interrupted_cell_leaves_a_result_that_is_used_and_resumed(kernel):
  cell = kernel.run(INTERRUPTED, interrupt_at='row 10')
  assert cell.is_interrupted and not cell.traceback and not cell.stderr
  assert 'Interrupted: a checkpoint is written. To resume' in cell.stdout
  assert cell.stdout.count('closed') == 1
  assert value(
    kernel, 'result.interrupted, len(result.metrics["loss"]) > 1'
  ) == ('True True')
  assert value(kernel, 'Dice.num_made - Dice.num_closed') == '0'
  names = value(kernel, '[t.name for t in threading.enumerate()]')
  assert 'actor' not in names and 'batch' not in names

  load = 'experiments.load("run").num_updates == result.num_updates'
  assert value(kernel, load) == 'True'
  figure = kernel.run('plot.learning_curve(result.logdir)')
  assert 'image/png' in figure.data[0]
  shown = kernel.run('animation.play("run", max_frames=5)')
  assert 'data:image/gif' in shown.data[0]['text/html']

  kernel.run('more = dataclasses.replace(settings, num_frames=10_000)')
  cell = kernel.run('rest = train.train(more, make_env=Dice)')
  assert not cell.traceback and 'Resuming from update' in cell.stdout
  assert value(kernel, 'rest.interrupted, rest.num_frames >= 10_000') == (
    'False True'
  )


def test_after_a_failed_cell_another_network_is_trained(kernel):
  kernel.run('settings = dataclasses.replace(settings, num_frames=2_000)')
  kernel.run('Dice.step = lambda self, action: 1 / 0')
  cell = kernel.run(INTERRUPTED)
  assert 'ZeroDivisionError' in ''.join(cell.traceback)
  cell = kernel.run(
    'other = dataclasses.replace(settings, use_lstm=True, seed=5, logdir="b")\n'
    'result = train.train(other, writers=[live.LiveCurve()])'
  )
  assert not cell.traceback and not cell.stderr
  assert value(kernel, 'result.num_frames >= 2_000') == 'True'
  assert any('image/png' in data for data in cell.data)


@pytest.mark.parametrize('has_widgets', (True, False))
def test_progress_is_one_bar_without_warnings(kernel, has_widgets):
  if not has_widgets:
    kernel.run('sys.modules["ipywidgets"] = None')
  kernel.run('warnings.simplefilter("always")')
  few = 'train.train(dataclasses.replace(settings, num_frames=1_000));'
  cell = kernel.run(few)
  assert not cell.traceback
  assert 'Warning' not in cell.stderr + cell.stdout
  if has_widgets:
    first, last = texts(cell)
    assert first.startswith('  0%|') and last.startswith('100%|')
    assert not cell.stderr
  else:
    assert not cell.data and '100%|' in cell.stderr
