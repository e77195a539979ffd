"""Negative flips: rows that the champion has right and the candidate has wrong. Their share, and the rows themselves.

A better average can hide them, and they are what users of the champion notice (S. Yan et al., "Positive-Congruent
Training", CVPR 2021). Whether they are too many is for the gate.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tidegate import files
from tidegate.evidence import scoring, statistics
from tidegate.evidence.rules import Figure, Test
from tidegate.evidence.scoring import Predictions
from tidegate.evidence.statistics import Resampled

_OWN = ("id", "group", "label")
_BY_MODEL = ("champion", "champion_probability", "candidate", "candidate_probability")


def share(marked: NDArray[np.bool_], p: Predictions, test: Test) -> Figure:
    """The share of rows that are marked, with its interval resampled by group.

    Args:
        marked: (n,), about the rows of `p`.
    """
    columns = np.stack([marked.astype(np.float64), np.ones(len(marked))], axis=1)
    sums = statistics.sums_by_group(columns, p.group_numbers, p.group_count)
    drawn = statistics.resampled_sums(sums, replicates=test.replicates, seed=test.seed)
    found = Resampled(float(marked.mean()), drawn[:, 0] / drawn[:, 1], statistics.effective_groups(sums[:, 1]))
    return Figure.of(scoring.as_metric(found, test.confidence, share=True), len(marked))


def negative(candidate: Predictions, champion: Predictions) -> NDArray[np.bool_]:
    """(n,): the champion is right, the candidate is wrong.

    Raises:
        DataError: the two are not about the same rows.
    """
    scoring.check_same_rows(candidate, champion)
    marked: NDArray[np.bool_] = (champion.predicted == champion.actual) & (candidate.predicted != candidate.actual)
    return marked


def write(path: Path, candidate: Predictions, champion: Predictions | None) -> None:
    """Lists the negative flips as CSV, the candidate's most confident errors first; without a champion a header."""
    with files.replacing(path) as draft, draft.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*_OWN, *candidate.slices, *_BY_MODEL])
        writer.writerows(_listed(candidate, champion) if champion else [])


def _listed(candidate: Predictions, champion: Predictions) -> Iterator[Sequence[str]]:
    flipped = np.flatnonzero(negative(candidate, champion))
    sure = candidate.probabilities.max(axis=1)[flipped]
    for row in flipped[np.lexsort((candidate.ids[flipped], -sure))]:
        slices = (str(values[row]) for values in candidate.slices.values())
        said = (cell for p in (champion, candidate) for cell in _said(p, row))
        yield [str(candidate.ids[row]), str(candidate.groups[row]), candidate.labels[candidate.actual[row]], *slices,
               *said]  # fmt: skip


def _said(p: Predictions, row: int) -> tuple[str, str]:
    return p.labels[p.predicted[row]], f"{p.probabilities[row].max():.4f}"
