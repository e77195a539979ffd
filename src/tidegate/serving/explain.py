"""Which words an answer rests on: each is left out, and what the probability of the label loses is its weight.

Leaving out (occlusion) asks the model alone and no gradients: Li, Monroe, Jurafsky, Understanding Neural Networks
through Representation Erasure, 2016. Pure functions; who asks the model is elsewhere.
"""

from collections.abc import Sequence
from itertools import pairwise


def parts(text: str, most: int) -> list[str]:
    """A normalized text in its words; where it has more than `most`, in `most` runs of words of like length."""
    words = text.split()
    count = min(len(words), most)
    edges = [len(words) * number // count for number in range(count + 1)] if count else [0]
    return [" ".join(words[start:end]) for start, end in pairwise(edges)]


def without_each(pieces: Sequence[str]) -> list[str]:
    """For each part the text without it."""
    return [" ".join([*pieces[:at], *pieces[at + 1 :]]) for at in range(len(pieces))]


def weights(whole: Sequence[float], without: Sequence[Sequence[float]]) -> list[float]:
    """For each part how much probability (-1 to 1) the label of the whole text owes to it.

    Args:
        whole: the probabilities of the whole text.
        without: those of the text without each part.
    """
    best = max(range(len(whole)), key=whole.__getitem__)
    return [whole[best] - row[best] for row in without]
