"""Text in observations: words as integers, in a leaf that its spec marks.

An environment with instructions declares a leaf with `HashedWords` (dm_env) or
`words_space` (Gymnasium) and fills it with `hash_words`. Agents encode leaves
whose spec has the attribute `is_text`.
"""

import dm_env
import gymnasium
import numpy as np

NUM_BUCKETS = 1000  # Hash buckets of words, as in the authors' code.


class HashedWords(dm_env.specs.BoundedArray):
  """The spec of `hash_words`: `[max_words]` integers, 0 where no word is."""

  is_text = True

  def __init__(self, max_words: int, name: str | None = None):
    super().__init__([max_words], np.int32, 0, NUM_BUCKETS, name)

  def __reduce__(self):
    return HashedWords, (self.shape[0], self.name)


def words_space(max_words: int) -> gymnasium.spaces.Box:
  """Returns the Gymnasium space of `hash_words`, marked as text."""
  space = gymnasium.spaces.Box(0, NUM_BUCKETS, (max_words,), np.int32)
  space.is_text = True
  return space


def hash_words(text: str, max_words: int) -> np.ndarray:
  """Hashes the first `max_words` words of `text` to integers 1..1000.

  The text is split at whitespace. The hash is FNV-1a, which is the same in
  every process (the authors' code uses TensorFlow's hash).

  Returns:
    `[max_words]`, padded with 0.
  """
  tokens = np.zeros([max_words], np.int32)
  for i, word in enumerate(text.split()[:max_words]):
    digest = 0x811C9DC5
    for byte in word.encode():
      digest = ((digest ^ byte) * 0x01000193) & 0xFFFFFFFF
    tokens[i] = digest % NUM_BUCKETS + 1
  return tokens
