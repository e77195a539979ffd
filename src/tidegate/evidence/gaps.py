"""How far apart the slices of one model lie: the largest difference of accuracy, with an interval.

What a candidate loses in a slice against another model is for `judgement`; the rule about the gap for `rules`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from tidegate.evidence import statistics
from tidegate.evidence.rules import Figure, Test
from tidegate.evidence.scoring import Predictions
from tidegate.evidence.statistics import Floats, Resampled


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The largest difference of accuracy between two slices of a column, over all columns."""

    figure: Figure
    better: str
    worse: str


def largest(p: Predictions, *, minimum_rows: int, test: Test) -> Gap | None:
    """None where no column has two slices of at least `minimum_rows` rows.

    A maximum of differences is biased upwards: noise alone parts slices that are equal, and each replicate adds
    noise once more, so percentiles of the resampled maximum would be wrong at both ends. Instead:

    - The upper end is the largest of the pairs' own upper ends. The pair that truly lies furthest apart is among
      them, so one test at alpha for each pair holds alpha for all (intersection-union, as in `rules.combine`).
    - The lower end takes from the gap seen what noise adds to a maximum: the 1 - alpha quantile of the largest
      deviation of any pair from its own figure (a simultaneous bound, as J. Romano and M. Wolf, JASA 100, 2005).
    """
    pairs = {
        names: pair
        for column in p.slices
        for names, pair in _pairs(column, accuracies(p, column, minimum_rows=minimum_rows, test=test)).items()
    }
    if not pairs:
        return None
    better, worse = max(pairs, key=lambda names: (pairs[names].value, names))
    low, high = _interval(list(pairs.values()), test.confidence)
    rows = sum(int((p.slices[column] == value).sum()) for column, value in (better, worse))
    figure = Figure(value=pairs[better, worse].value, low=low, high=high, rows=rows)
    return Gap(figure=figure, better="=".join(better), worse="=".join(worse))


def accuracies(p: Predictions, column: str, *, minimum_rows: int, test: Test) -> dict[str, Resampled]:
    """By value of a slice column, where it has rows enough, the accuracy; the same groups drawn for all."""
    values, counts = np.unique(p.slices[column], return_counts=True)
    large = [str(value) for value, rows in zip(values, counts, strict=True) if rows >= minimum_rows]
    if not large:
        return {}
    member = (p.slices[column][:, None] == np.array(large)).astype(np.float64)
    right = member * (p.predicted == p.actual)[:, None]
    sums = statistics.sums_by_group(np.hstack([right, member]), p.group_numbers, p.group_count)
    drawn = statistics.resampled_sums(sums, replicates=test.replicates, seed=test.seed)
    k, total = len(large), sums.sum(axis=0)
    return {
        value: Resampled(
            float(total[i] / total[k + i]), _ratio(drawn[:, i], drawn[:, k + i]),
            statistics.effective_groups(sums[:, k + i]),
        )
        for i, value in enumerate(large)
    }  # fmt: skip


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def _pairs(column: str, found: Mapping[str, Resampled]) -> dict[tuple[tuple[str, str], tuple[str, str]], Resampled]:
    """By (better, worse) as (column, value) the difference; the smaller of the two says how many groups there are."""
    pairs = {}
    for one, other in combinations(found, 2):
        a, b = (one, other) if found[one].value >= found[other].value else (other, one)
        first, second = found[a], found[b]
        pairs[(column, a), (column, b)] = Resampled(
            first.value - second.value, first.draws - second.draws,
            min(first.effective_groups, second.effective_groups),
        )  # fmt: skip
    return pairs


def _interval(pairs: list[Resampled], confidence: float) -> tuple[float | None, float | None]:
    """None at both ends where one of the pairs has too few groups to tell."""
    value = max(pair.value for pair in pairs)
    intervals = [pair.interval(confidence) for pair in pairs]
    noise = np.max(np.abs([pair.draws - pair.value for pair in pairs]), axis=0)
    widest = Resampled(0.0, noise, min(pair.effective_groups for pair in pairs)).interval(confidence)
    if widest is None or any(interval is None for interval in intervals):
        return None, None
    high = max(value, *(interval[1] for interval in intervals if interval))
    return max(0.0, value - widest[1]), min(1.0, high)
