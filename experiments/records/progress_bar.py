"""The progress bar of a run: text in a terminal, a widget in a notebook."""

import importlib
import importlib.util
import sys
from typing import Any

import tqdm


class ProgressBar:
  """A bar of tqdm.

  A notebook without ipywidgets gets the bar of a terminal.
  """

  def __init__(self, **settings: Any):
    """Starts the bar, unless `settings`, those of tqdm, disable it."""
    self._handle = None  # Of the widget in the output of the cell.
    if not (in_notebook() and importlib.util.find_spec('ipywidgets')):
      self._bar = tqdm.tqdm(**settings)
      return
    notebook = importlib.import_module('tqdm.notebook')
    self._bar = notebook.tqdm(display=False, **settings)
    if not self._bar.disable:
      display = importlib.import_module('IPython.display').display
      self._handle = display(self._bar.container, display_id=True)

  def set_text(self, text: str) -> None:
    """Sets the text after the bar, which the next `move_to` shows."""
    self._bar.set_postfix_str(text, refresh=False)

  def move_to(self, position: int) -> None:
    """Moves the bar, at most to its end."""
    self._bar.update(min(position, self._bar.total) - self._bar.n)

  def close(self) -> None:
    """Ends the bar.

    A saved notebook holds the text of a widget when it was displayed; it is
    displayed again, so that this is its last one.
    """
    self._bar.close()
    if self._handle is not None:
      self._handle.update(self._bar.container)


def in_notebook() -> bool:
  """Returns whether this process is the kernel of a notebook."""
  ipython = sys.modules.get('IPython')
  shell = ipython.get_ipython() if ipython else None
  return hasattr(shell, 'kernel')
