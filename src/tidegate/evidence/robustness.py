"""Texts as people may also write them: seeded, pure perturbations that leave the meaning as it is.

What a model makes of them is measured in `compare`. Training texts are changed in `model/augmentation`.
"""

import zlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator

from tidegate.model.augmentation import mistype

TYPING_SHARE = 0.1
"""Share of the words with a typing error."""
KEPT_SHARE = 0.75
"""Share of the words that a truncated text keeps, from its beginning."""
_BLANKS = ("  ", "\n", "\t", " ")
_MARKS = frozenset(".,;:!?\"'()-\u2018\u2019\u201c\u201d\u2026\u2013\u2014")


def perturbed(name: str, texts: Sequence[str], *, seed: int) -> list[str]:
    """The texts under one of `PERTURBATIONS`. What is done to a text depends on it and its place alone."""
    change, kind = PERTURBATIONS[name], zlib.crc32(name.encode())
    return [change(text, np.random.default_rng([seed, kind, place])) for place, text in enumerate(texts)]


def typing_errors(text: str, chance: Generator) -> str:
    """One error in `TYPING_SHARE` of the words, at least in one; words of up to three letters are spared."""
    words = text.split(" ")
    long = [place for place, word in enumerate(words) if len(word) > 3]
    wrong = min(len(long), max(1, round(TYPING_SHARE * len(words))))
    for place in chance.permutation(long)[:wrong].astype(int):
        words[place] = mistype(words[place], chance)
    return " ".join(words)


def upper_case(text: str, chance: Generator) -> str:
    """All in capitals."""
    return text.upper()


def lower_case(text: str, chance: Generator) -> str:
    """None in capitals."""
    return text.lower()


def no_punctuation(text: str, chance: Generator) -> str:
    """Marks of punctuation left out, apostrophes inside words among them."""
    return "".join(character for character in text if character not in _MARKS)


def white_space(text: str, chance: Generator) -> str:
    """Blanks doubled or turned into line ends and tabs, some before and after."""
    return " " + "".join(_BLANKS[chance.integers(len(_BLANKS))] if c == " " else c for c in text) + "\n"


def truncation(text: str, chance: Generator) -> str:
    """The first `KEPT_SHARE` of the words, at least one."""
    words = text.split(" ")
    return " ".join(words[: max(1, round(KEPT_SHARE * len(words)))])


PERTURBATIONS: dict[str, Callable[[str, Generator], str]] = {
    "typing_errors": typing_errors,
    "upper_case": upper_case,
    "lower_case": lower_case,
    "no_punctuation": no_punctuation,
    "white_space": white_space,
    "truncation": truncation,
}
