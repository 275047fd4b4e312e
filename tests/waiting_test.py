"""Gates: sleeping threads are woken, and no news is lost."""

import math
import signal
import threading

from agents import waiting


def test_an_open_gate_lets_one_wait_through_and_is_closed_again():
  gate = waiting.Gate()
  gate.open()
  gate.open()
  gate.wait(600)  # Returns at once, or the test hangs.
  opened = []

  def open_later():
    opened.append(True)
    gate.open()

  threading.Timer(0.01, open_later).start()
  gate.wait(600)
  assert opened


def test_news_between_an_attempt_and_the_sleep_is_not_lost():
  gate, news = waiting.Gate(), []

  def attempt():
    found = bool(news)
    if not found:  # The other thread comes after the look, before the sleep.
      news.append('new')
      gate.open()
    return found, news

  found = waiting.wait(
    attempt, lambda: False, gate, timeout_seconds=600, what='The test waited'
  )
  assert found == (['new'],)


def test_an_infinite_timeout_is_a_wait_without_a_deadline():
  gate, tries = waiting.Gate(), []
  timer = threading.Timer(0.01, gate.open)

  def attempt():
    tries.append(1)
    if len(tries) == 1:
      timer.start()
    return len(tries) == 2, 'done'

  assert waiting.wait(
    attempt, lambda: False, gate, timeout_seconds=math.inf, what=''
  ) == ('done',)


def test_a_gate_may_be_opened_by_a_signal_handler_while_it_is_opened():
  # The handler runs between two steps of `open` in the same thread.
  gate = waiting.Gate()
  lock = gate._lock

  class InterruptedLock:
    def locked(self):
      locked = lock.locked()
      signal.raise_signal(signal.SIGUSR1)
      return locked

    def release(self):
      lock.release()

  old = signal.signal(signal.SIGUSR1, lambda *_: lock.release())
  try:
    gate._lock = InterruptedLock()
    gate.open()
  finally:
    signal.signal(signal.SIGUSR1, old)
  assert not lock.locked()


def test_many_threads_that_open_a_gate_do_not_disturb_each_other():
  gate, errors = waiting.Gate(), []

  def open_often():
    try:
      for _ in range(20_000):
        gate.open()
    except RuntimeError as error:
      errors.append(error)

  threads = [threading.Thread(target=open_often) for _ in range(4)]
  for thread in threads:
    thread.start()
  while any(thread.is_alive() for thread in threads):
    gate.wait(0.01)
  assert not errors
