"""Whether an answer depends on the texts that happen to share its batch. It should not; dynamic scales make it so.

How batches are composed and compared. What makes a model depend on its neighbours is not known here.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Composition = list[list[int]]
"""Batches of row numbers."""


def compositions(sizes: Sequence[int], *, batch_size: int, seed: int) -> dict[str, Composition]:
    """Ways in which n texts may come in batches; every row stands first in its batch or before the neighbour once.

    Args:
        sizes: (n,) how long the texts are, in any unit.

    Returns:
        `alone`; `sorted`: with texts of like size; `shuffled`: with any, and with the longest of all as the last.
    """
    n, longest = len(sizes), int(np.argmax(sizes))
    by_size = np.argsort(sizes, kind="stable").tolist()
    mixed = np.random.default_rng(seed).permutation(n).tolist()
    return {
        "alone": [[row] for row in range(n)],
        "sorted": _cut(by_size, batch_size),
        "shuffled": [[*batch, longest] for batch in _cut(mixed, max(1, batch_size - 1))],
    }


def _cut(rows: list[int], size: int) -> Composition:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def flips(decide: Callable[[list[int]], NDArray[np.int64]], ways: dict[str, Composition], rows: int) -> float:
    """The share of rows (0 to 1) that get different labels in different company.

    Args:
        decide: rows of one batch to their labels (m,).
        ways: every row is in each; where a row comes twice, its first answer counts.
    """
    found = np.full((len(ways), rows), -1, dtype=np.int64)
    for way, batches in enumerate(ways.values()):
        for batch in batches:
            labels, open_ = decide(batch), found[way, batch] < 0
            found[way, np.array(batch)[open_]] = labels[open_]
    return float((found != found[0]).any(axis=0).mean())
