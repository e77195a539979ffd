"""The metrics of a model on labelled rows, alone and paired, as pure functions of arrays.

The formulas live in `figures`, the resampling in `statistics`, reading and writing in `predictions`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tidegate.errors import DataError
from tidegate.evidence import figures, statistics
from tidegate.evidence.figures import FIGURES, Tally
from tidegate.evidence.statistics import Floats, Resampled


@dataclass(frozen=True)
class Predictions:
    """What a model said of n labelled rows, with k labels.

    Raises:
        DataError: shapes differ, there are no rows, or the probabilities are not probabilities.
    """

    ids: NDArray[np.str_]
    """(n,)"""
    groups: NDArray[np.str_]
    """(n,): rows of one group are correlated and are resampled together."""
    labels: tuple[str, ...]
    """(k,): the label set, in the order of the probabilities."""
    actual: NDArray[np.int64]
    """(n,): indexes into `labels`."""
    probabilities: Floats
    """(n, k): each row sums to 1."""
    slices: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    """Columns (n,) by which quality is reported apart."""

    def __post_init__(self) -> None:
        n, k = len(self.ids), len(self.labels)
        shapes = [len(self.groups), len(self.actual), len(self.probabilities), *map(len, self.slices.values())]
        if not n or any(length != n for length in shapes) or self.probabilities.shape != (n, k):
            cause = f"lengths do not agree or are 0: {n} ids, {shapes}, probabilities {self.probabilities.shape}"
            raise DataError("predictions", cause, "Run the stage again that wrote them")
        if problem := _probability_problem(self.probabilities):
            raise DataError("predictions", problem, "The model is broken: train it again with a lower learning rate")
        if self.actual.min() < 0 or self.actual.max() >= k:
            raise DataError("predictions", "a label lies outside the label set", "Run the stage again that wrote them")

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """(n,): the most probable label, the first one on a tie."""
        best: NDArray[np.int64] = self.probabilities.argmax(axis=1).astype(np.int64)
        return best

    @cached_property
    def group_numbers(self) -> NDArray[np.intp]:
        """(n,): groups as numbers from 0, in the order of their first rows."""
        _, first, inverse = np.unique(self.groups, return_index=True, return_inverse=True)
        rank: NDArray[np.intp] = np.empty(len(first), dtype=np.intp)
        rank[np.argsort(first)] = np.arange(len(first))
        numbers: NDArray[np.intp] = rank[inverse]
        return numbers

    @property
    def group_count(self) -> int:
        """How many groups the rows come from."""
        return int(self.group_numbers.max()) + 1

    def tally(self, *, decisions_only: bool = False) -> Tally:
        """All that the metrics need, summed by group."""
        return figures.tally(self.actual, self.probabilities, self.group_numbers, decisions_only=decisions_only)

    def where(self, rows: NDArray[np.bool_]) -> "Predictions":
        """The predictions of some of the rows."""
        kept = {name: column[rows] for name, column in self.slices.items()}
        return Predictions(
            self.ids[rows], self.groups[rows], self.labels, self.actual[rows], self.probabilities[rows], kept
        )


def _probability_problem(probabilities: Floats) -> str | None:
    if not np.isfinite(probabilities).all():
        return f"{int((~np.isfinite(probabilities)).any(axis=1).sum()):,} rows hold probabilities that are no numbers"
    if probabilities.min() < 0 or np.abs(probabilities.sum(axis=1) - 1).max() > 1e-3:
        return "the probabilities of some rows are negative or do not sum to 1"
    return None


def metrics(p: Predictions, *, replicates: int, seed: int, confidence: float = 0.95) -> dict[str, Any]:
    """All metrics of one model, each with its interval resampled by group, as docs/artifacts.md has them."""
    by_group = p.tally()
    total, drawn = by_group.total(), by_group.resampled(replicates=replicates, seed=seed)
    sizes = by_group["rows"][:, 0]

    def metric(name: str) -> dict[str, float | None]:
        value, draws = FIGURES[name](total), FIGURES[name](drawn)
        figure = Resampled(float(value), draws, statistics.effective_groups(sizes))
        if name == "expected_calibration_error":
            return _error_metric(figure, replace(figure, draws=figures.calibration_noise(drawn, total)), confidence)
        return as_metric(figure, confidence, share=name == "accuracy")

    return {
        "rows": len(p.ids),
        "groups": p.group_count,
        **{name: metric(name) for name in FIGURES},
        "classes": _classes(p.labels, by_group, total, drawn, confidence),
        "confusion": confusion(p).tolist(),
    }


def _classes(labels: tuple[str, ...], by_group: Tally, total: Tally, drawn: Tally, confidence: float) -> dict[str, Any]:
    actual, predicted = by_group["actual"], by_group["predicted"]
    parts = {
        "precision": (figures.precision, predicted),
        "recall": (figures.recall, actual),
        "f1": (figures.f1, actual + predicted),
    }
    found: dict[str, Any] = {label: {"rows": int(total["actual"][c])} for c, label in enumerate(labels)}
    for name, (figure, sizes) in parts.items():
        values, draws, seen = figure(total), figure(drawn), sizes.sum(axis=0)
        for c, label in enumerate(labels):
            effective = statistics.effective_groups(sizes[:, c])
            value = float(values[c]) if seen[c] else float("nan")
            found[label][name] = as_metric(Resampled(value, draws[:, c], effective), confidence, share=True)
    return found


def as_metric(figure: Resampled, confidence: float, *, share: bool = False) -> dict[str, float | None]:
    """A figure for JSON; null where it is not defined, or its interval is not."""
    if not np.isfinite(figure.value):
        return {"value": None, "low": None, "high": None}
    low, high = figure.interval(confidence) or (None, None)
    if share and low is not None and low == high and figure.value in (0.0, 1.0):
        # Resampling what is all right or all wrong shows no spread; the number of groups still bounds it.
        low, high = statistics.exact_share(figure.value, int(figure.effective_groups), confidence=confidence)
    return {"value": figure.value, "low": low, "high": high}


def _error_metric(figure: Resampled, noise: Resampled, confidence: float) -> dict[str, float | None]:
    """The calibration error adds up sizes of gaps, so noise raises it, and each replicate once more.

    Its upper end is that of the basic bootstrap, which mirrors (A. Davison and D. Hinkley, "Bootstrap Methods
    and their Application", 1997, section 5.2), at least the figure itself. Its lower end takes all noise away
    (triangle inequality): above 0 only where the model is shown not to be calibrated.
    """
    found, disturbed = figure.interval(confidence), noise.interval(confidence)
    if found is None or disturbed is None:
        return {"value": figure.value, "low": None, "high": None}
    low, high = max(0.0, figure.value - disturbed[1]), 2 * figure.value - found[0]
    return {"value": figure.value, "low": low, "high": min(1.0, max(high, figure.value))}


def confusion(p: Predictions) -> NDArray[np.int64]:
    """(k, k) counts of rows; rows are actual, columns predicted."""
    k = len(p.labels)
    return np.bincount(p.actual * k + p.predicted, minlength=k * k).reshape(k, k).astype(np.int64)


def calibration_curve(p: Predictions) -> list[dict[str, float | int]]:
    """The bins of the calibration error that hold rows: mean `confidence`, `accuracy`, `rows`."""
    confidence, right = p.probabilities.max(axis=1), p.predicted == p.actual
    bins = figures.confidence_bins(confidence)
    found = ((int(n), bins == b) for b, n in enumerate(np.bincount(bins)) if n)
    return [
        {"confidence": float(confidence[at].mean()), "accuracy": float(right[at].mean()), "rows": n} for n, at in found
    ]


def by_slice(
    p: Predictions, *, replicates: int, seed: int, minimum_rows: int, confidence: float = 0.95
) -> dict[str, dict[str, dict[str, Any]]]:
    """Accuracy and macro-F1 by slice column and value; slices below `minimum_rows` are listed without intervals."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for column, values in p.slices.items():
        found[column] = {}
        for value in np.unique(values):
            part = p.where(values == value)
            enough = len(part.ids) >= minimum_rows
            resampled = decisions(part, replicates=replicates if enough else 0, seed=seed)
            found[column][str(value)] = {
                "rows": len(part.ids),
                "groups": part.group_count,
                **{name: as_metric(figure, confidence, share=name == "accuracy") for name, figure in resampled.items()},
            }
    return found


Decision = Literal["accuracy", "macro_f1"]
"""The figures that rest on the most probable label alone; models are compared on these."""
DECISIONS: tuple[Decision, ...] = ("accuracy", "macro_f1")


def decisions(p: Predictions, *, replicates: int, seed: int) -> dict[Decision, Resampled]:
    """Accuracy and macro-F1, resampled by group (with no replicates: without intervals)."""
    return decisions_each([p], replicates=replicates, seed=seed)[0]


def decisions_each(models: Sequence[Predictions], *, replicates: int, seed: int) -> list[dict[Decision, Resampled]]:
    """The same of many at once, whose groups are equally many: the same groups are drawn for all of them."""
    tallies = [p.tally(decisions_only=True) for p in models]
    drawn = figures.resampled_each(tallies, replicates=replicates, seed=seed) if replicates else [None] * len(tallies)
    return [_decisions(by_group, draws) for by_group, draws in zip(tallies, drawn, strict=True)]


def _decisions(by_group: Tally, drawn: Tally | None) -> dict[Decision, Resampled]:
    total, effective = by_group.total(), statistics.effective_groups(by_group["rows"][:, 0])
    return {
        name: Resampled(float(FIGURES[name](total)), FIGURES[name](drawn) if drawn else np.empty(0), effective)
        for name in DECISIONS
    }


def differences(a: Predictions, b: Predictions, *, replicates: int, seed: int) -> dict[Decision, Resampled]:
    """`a` minus `b` on the same rows, the same groups drawn for both.

    Raises:
        DataError: the two are not about the same rows, labels and groups.
    """
    check_same_rows(a, b)
    return minus(*decisions_each([a, b], replicates=replicates, seed=seed))


def minus(first: Mapping[Decision, Resampled], second: Mapping[Decision, Resampled]) -> dict[Decision, Resampled]:
    """The differences of figures for which the same groups were drawn."""
    return {
        name: Resampled(x.value - second[name].value, x.draws - second[name].draws, x.effective_groups)
        for name, x in first.items()
    }


def paired(
    a: Predictions, b: Predictions, *, replicates: int, seed: int, confidence: float = 0.95
) -> dict[str, dict[str, Any]]:
    """`a` minus `b` on the same rows: metrics with a two-sided `p_value`, and the clustered McNemar test."""
    found: dict[str, dict[str, Any]] = {
        name: {**as_metric(figure, confidence), "p_value": figure.p_differs()}
        for name, figure in differences(a, b, replicates=replicates, seed=seed).items()
    }
    found["mcnemar"] = statistics.mcnemar(a.predicted == a.actual, b.predicted == b.actual, a.group_numbers)
    return found


def plain(actual: NDArray[np.int64], predicted: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy and macro-F1 of (n,) label indexes, without intervals."""
    decided = np.eye(int(max(actual.max(), predicted.max())) + 1)[predicted]
    total = figures.tally(actual, decided, np.zeros(len(actual), dtype=np.intp), decisions_only=True).total()
    return {name: float(FIGURES[name](total)) for name in DECISIONS}


def check_same_rows(a: Predictions, b: Predictions) -> None:
    """Raises a DataError unless both are about the same rows in the same order."""
    same = a.labels == b.labels and all(
        np.array_equal(x, y) for x, y in ((a.ids, b.ids), (a.groups, b.groups), (a.actual, b.actual))
    )
    if not same:
        cause = "two models to compare were not run on the same rows with the same labels"
        raise DataError("predictions", cause, "Run `dvc repro`, which makes both anew")
