"""How the process of a command ends: Ctrl-C, lost output, signals."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from experiments.training import signals

ROOT = pathlib.Path(__file__).parent.parent
OTHERS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def run_command(body, redirection=''):
  """Runs a command whose main has `body`; returns the finished process."""
  lines = [
    'import os, signal, sys, threading',
    'from absl import logging',
    'from experiments import cli',
    'logging.info("Imports may log.")',
    'signal.signal(signal.SIGINT, signal.default_int_handler)',
    'def main():',
    textwrap.indent(textwrap.dedent(body), '  '),
    'cli.run(main)',
  ]
  return subprocess.run(
    f'exec "$PYTHON" -c "$PROGRAM" {redirection}',
    shell=True,
    env=os.environ
    | {
      'PYTHON': sys.executable,
      'PROGRAM': '\n'.join(lines),
      'PYTHONPATH': str(ROOT),
    },
    text=True,
    capture_output=True,
    timeout=120,
    check=False,
  )


@pytest.mark.parametrize(
  'then', ('', 'except KeyboardInterrupt: raise ValueError("swallowed")')
)
def test_ctrl_c_ends_any_command_with_status_130(then):
  body = f"""
  threading.Thread(target=threading.Event().wait).start()  # Never ends.
  try:
    os.kill(os.getpid(), signal.SIGINT)
    while True: pass
  {then or 'finally: pass'}
  """
  result = run_command(body)
  assert result.returncode == 130, result.stderr
  if not then:
    assert result.stderr == 'Interrupted.\n'


@pytest.mark.parametrize('stream', ('stdout', 'stderr'))
@pytest.mark.parametrize('redirection', ('{}>&-', '{}>/dev/full'))
def test_a_command_ends_although_its_output_is_lost(
  stream, redirection, tmp_path
):
  body = f"""
  for _ in range(3):
    print('x' * 10_000, file=sys.{stream}, flush=True)
  open({str(tmp_path / 'done')!r}, 'x').close()
  """
  number = {'stdout': 1, 'stderr': 2}[stream]
  result = run_command(body, redirection.format(number))
  assert (tmp_path / 'done').exists()
  is_reported = stream == 'stdout' and 'full' in redirection
  assert result.returncode == is_reported, result.stderr
  assert ('No space left' in result.stderr) == is_reported


def test_a_message_is_logged_once():
  result = run_command('logging.warning("low on fuel")')
  assert result.stderr.count('low on fuel') == 1


def test_a_closed_pipe_is_no_error(tmp_path):
  body = f"""
  reader, writer = os.pipe()
  os.dup2(writer, 1)
  os.close(writer)
  os.close(reader)  # Nobody reads stdout any more.
  print('x' * 100_000, flush=True)
  open({str(tmp_path / 'done')!r}, 'x').close()
  """
  result = run_command(body)
  assert (tmp_path / 'done').exists()
  assert result.returncode == 0 and not result.stderr


@pytest.fixture
def default_sighup():
  """Lets SIGHUP have its default action, also under `nohup make test`."""
  old = signal.signal(signal.SIGHUP, signal.SIG_DFL)
  yield
  signal.signal(signal.SIGHUP, old)


@pytest.mark.usefixtures('default_sighup')
@pytest.mark.parametrize('signum', OTHERS, ids=lambda signum: signum.name)
def test_each_signal_asks_to_stop_once(signum, tmp_path):
  calls, old = [], signal.getsignal(signum)
  with (
    pytest.raises(signals.Stopped, match=signum.name) as info,
    signals.on_signal(tmp_path) as stop,
  ):
    os.kill(os.getpid(), signum)
    stop.calls(lambda: calls.append(1))  # The signal came before it.
    for later in OTHERS:  # A closed terminal sends SIGHUP twice.
      os.kill(os.getpid(), later)
  assert calls == [1] and info.value.signum == signum
  assert signal.getsignal(signum) == old


def test_an_ignored_sighup_stays_ignored(tmp_path):
  old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
  try:
    with signals.on_signal(tmp_path) as stop:
      os.kill(os.getpid(), signal.SIGHUP)
      assert stop.signum is None
  finally:
    signal.signal(signal.SIGHUP, old)


@pytest.mark.parametrize('call', ('end(3)', '_end_interrupted()'))
def test_worker_processes_do_not_outlive_the_command(call):
  source = f"""
import multiprocessing, time
from experiments import process
worker = multiprocessing.get_context('fork').Process(
  target=time.sleep, args=(600,), daemon=True
)
worker.start()
print(worker.pid, flush=True)
process.{call}
"""
  command = [sys.executable, '-c', source]
  done = subprocess.run(
    command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
  )
  assert done.returncode in (3, 130), done.stderr
  deadline = time.monotonic() + 60
  while is_running(int(done.stdout)) and time.monotonic() < deadline:
    time.sleep(0.1)
  assert not is_running(int(done.stdout))


def is_running(pid):
  try:
    return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
  except psutil.NoSuchProcess:
    return False
