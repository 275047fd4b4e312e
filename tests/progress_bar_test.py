"""The progress bar in a terminal and in notebooks, also without widgets."""

import importlib.util
import sys
import types

from IPython.core import formatters
import pytest

from experiments.records import progress_bar


@pytest.fixture
def shown(monkeypatch):
  """Makes this process look like a kernel; records what it displays."""
  display, found = [], types.SimpleNamespace(kernel=object())
  ipython = importlib.import_module('IPython')
  shell_display = importlib.import_module('IPython.display')
  text = formatters.PlainTextFormatter()

  class Handle:
    """A display that can be updated."""

    def update(self, shown):
      display.append(text(shown))

  def show(shown, display_id):
    display.append(text(shown))
    return Handle()

  monkeypatch.setattr(ipython, 'get_ipython', lambda: found)
  monkeypatch.setattr(shell_display, 'display', show)
  return display


def test_a_terminal_has_a_bar_of_text(capsys):
  bar = progress_bar.ProgressBar(total=40, unit=' frames')
  bar.set_text('lag 2')
  bar.move_to(30)
  bar.move_to(50)
  bar.close()
  out, err = capsys.readouterr()
  assert not out and '40/40' in err and 'lag 2' in err
  assert not progress_bar.in_notebook()


def test_a_notebook_has_a_widget_whose_last_text_stays(shown, capsys):
  bar = progress_bar.ProgressBar(total=40, unit=' frames')
  bar.set_text('lag 2')
  bar.move_to(30)
  bar.close()
  first, last = shown
  assert ' 0/40 ' in first
  assert ' 30/40 ' in last and 'lag 2' in last
  assert not any(capsys.readouterr())


def test_a_quiet_notebook_displays_nothing(shown, capsys):
  bar = progress_bar.ProgressBar(total=40, disable=True)
  bar.move_to(30)
  bar.close()
  assert not shown and not any(capsys.readouterr())


@pytest.mark.filterwarnings('error')
def test_a_notebook_without_widgets_has_a_bar_of_text(
  shown, monkeypatch, capsys
):
  monkeypatch.delitem(sys.modules, 'tqdm.notebook', raising=False)
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  bar = progress_bar.ProgressBar(total=40)
  bar.close()
  assert not shown and '0/40' in capsys.readouterr().err
  assert 'tqdm.notebook' not in sys.modules
