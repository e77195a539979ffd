"""Augmentation: training texts with typing errors, words left out and words swapped.

It works on words: token ids are decoded, changed and tokenized again, so the token files need not hold texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tidegate.errors import ModelError

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS: dict[str, str] = {}
for _row in _ROWS:
    for _left, _right in pairwise(_row):
        _NEIGHBOURS[_left] = _NEIGHBOURS.get(_left, "") + _right
        _NEIGHBOURS[_right] = _NEIGHBOURS.get(_right, "") + _left


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Shares of words: with a typing error, left out, swapped with the next."""

    typing: float
    deletion: float
    swap: float

    def __bool__(self) -> bool:
        return max(self.typing, self.deletion, self.swap) > 0


def augment(words: Sequence[str], rates: Rates, random: Generator, *, keep: frozenset[str] = frozenset()) -> list[str]:
    """The words with errors; at least one stays, and the words in `keep` get no typing error."""
    chance = random.random((3, len(words)))
    found = [word for word, dice in zip(words, chance[0], strict=True) if dice >= rates.deletion] or list(words[:1])
    found = [
        word if dice >= rates.typing or word in keep else mistype(word, random)
        for word, dice in zip(found, chance[1], strict=False)
    ]
    position = 0
    while position + 1 < len(found):
        if chance[2][position] < rates.swap:
            found[position : position + 2] = reversed(found[position : position + 2])
            position += 1  # a swapped word moves no further
        position += 1
    return found


def mistype(word: str, random: Generator) -> str:
    """The word with one letter missed, doubled, hit beside its key, or two neighbours swapped."""
    at, kind = int(random.integers(len(word))), int(random.integers(4))
    before, letter, after = word[:at], word[at], word[at + 1 :]
    if kind == 0 and len(word) > 1:
        return before + after
    if kind == 1 and after and after[0] != letter:
        return before + after[0] + letter + after[1:]
    if kind == 2 and (near := _NEIGHBOURS.get(letter.lower())):
        return before + near[int(random.integers(len(near)))] + after
    return before + letter + letter + after


class Augmenter:
    """Changes token ids through their words: the same row in the same epoch always becomes the same.

    Args:
        tokenizer: with its truncation set, so that no text outgrows the model.

    Raises:
        ModelError: the tokenizer cannot turn ids back into words.
    """

    def __init__(self, tokenizer: Tokenizer, rates: Rates, *, seed: int) -> None:
        if tokenizer.decoder is None:
            raise ModelError("train.augmentation", "the encoder's tokenizer has no decoder", "Set its rates to 0")
        self._tokenizer, self._rates, self._seed = tokenizer, rates, seed
        special = {id_: token.content for id_, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        self._keep = frozenset(special.values())
        self._frame = frozenset(tokenizer.encode("").ids)  # what the tokenizer puts around every text

    def __call__(self, ids: NDArray[np.int32], row: int, epoch: int) -> NDArray[np.int32]:
        """The changed ids of a row in an epoch."""
        inner = [int(id_) for id_ in ids if int(id_) not in self._frame]
        words = self._tokenizer.decode(inner, skip_special_tokens=False).split()
        if not words:
            return ids
        random = np.random.default_rng((self._seed, epoch, row))
        changed = augment(words, self._rates, random, keep=self._keep)
        return np.asarray(self._tokenizer.encode(" ".join(changed)).ids, dtype=np.int32)
