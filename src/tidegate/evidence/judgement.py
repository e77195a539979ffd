"""The gate's rules about predictions: resamples the figures and holds them against their bounds.

What a rule says of a figure is in `rules`; which rules there are, and their bounds, in `stages/gate`.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from tidegate.evidence import flips, gaps, rules, scoring, statistics
from tidegate.evidence.budget import Budget, design_effect, supports
from tidegate.evidence.rules import Figure, Rule, Slice, Test
from tidegate.evidence.scoring import Decision, Predictions
from tidegate.evidence.statistics import Resampled

WORDS: dict[Decision, str] = {"accuracy": "Accuracy", "macro_f1": "Macro-F1"}
Found = Mapping[Decision, Resampled]
EMPTY = {
    "champion_recent": "No row of the test set came from feedback, so nothing shows that the drift was made good. "
    "Label rows from service and run `make repro`, or set gate.mode to replace or refresh.",
    "champion_core": "All rows of the test set came from feedback, so nothing shows what was lost of the old. "
    "Keep the former rows in the sources, or set gate.mode to replace or refresh.",
}
"""What is said where one of the strata of mode `recover` holds no row."""


def compared(
    role: str, whose: str, a: Predictions, b: Predictions, bounds: Mapping[Decision, float], test: Test,
    found: Found | None = None,
) -> Iterator[Rule]:  # fmt: skip
    """A rule by figure: `a` minus `b` has to be shown to be above its bound (0: superior, below 0: not inferior).

    Args:
        role: begins the names of the rules.
        whose: the other model in a sentence, as "that of the baseline".
        found: the differences, where they were resampled before (many models at once, see `scoring.minus`).
    """
    found = found or scoring.differences(a, b, replicates=test.replicates, seed=test.seed)
    for name, bound in bounds.items():
        figure = Figure.of(scoring.as_metric(found[name], test.confidence), len(a.ids))
        yield rules.above(f"{role}_{name}", f"{WORDS[name]} minus {whose}", figure, bound, test, unit="difference")


def challenged(
    a: Predictions, b: Predictions, *, superior: bool, primary: Decision, margin: float, test: Test,
    role: str = "champion", other: str = "the champion", found: Found | None = None,
) -> Iterator[Rule]:  # fmt: skip
    """The rules of `a` against the champion `b`.

    Superior: the primary figure has to be shown to be above the champion's, the other not to be inferior by the
    margin; where accuracy is the primary one, the clustered McNemar test has to agree. Else neither may be inferior.
    """
    bounds: dict[Decision, float] = dict.fromkeys(WORDS, -margin)
    if superior:
        bounds[primary] = 0.0
    yield from compared(role, f"that of {other}", a, b, bounds, test, found)
    if superior and primary == "accuracy":
        yield mcnemar(f"{role}_mcnemar", other, a, b, test)


def mcnemar(name: str, other: str, a: Predictions, b: Predictions, test: Test) -> Rule:
    """Passes if `a` is shown to be right more often than `b`, fails if less often, by `statistics.mcnemar`."""
    found = statistics.mcnemar(a.predicted == a.actual, b.predicted == b.actual, a.group_numbers)
    return rules.right_more_often(name, other, found, len(a.ids), test)


def recovered(
    a: Predictions, b: Predictions, recent: NDArray[np.bool_], *, primary: Decision, margin: float, test: Test
) -> Iterator[Rule]:
    """After drift: `a` is superior to the champion `b` on the recent rows and not inferior to it on all others.

    Args:
        recent: (n,), the rows that came from feedback.
    """
    strata = (("champion_recent", "on the recent rows", recent), ("champion_core", "on the frozen core", ~recent))
    for role, where, rows in strata:
        if not rows.any():
            yield rules.stated(role, "undecided", EMPTY[role])
            continue
        yield from challenged(
            a.where(rows), b.where(rows), superior=role == "champion_recent", primary=primary, margin=margin, test=test,
            role=role, other=f"the champion {where}",
        )  # fmt: skip


def on_its_own(
    p: Predictions, *, floors: Mapping[Decision, float | None], calibration_ceiling: float | None, test: Test
) -> Iterator[Rule]:
    """Floors of accuracy and macro-F1 and the ceiling of the calibration error; null bounds are off."""
    found = scoring.metrics(p, replicates=test.replicates, seed=test.seed, confidence=test.confidence)
    for name, floor in floors.items():
        figure, rule = Figure.of(found[name], found["rows"]), f"floor_{name}"
        yield rules.off(rule) if floor is None else rules.above(rule, WORDS[name], figure, floor, test, unit=name)
    if calibration_ceiling is None:
        yield rules.off("calibration")
        return
    error = Figure.of(found["expected_calibration_error"], found["rows"])
    subject = "The expected calibration error"
    yield rules.below("calibration", subject, error, calibration_ceiling, test, unit="probability")


def slices(a: Predictions, b: Predictions, *, margin: float, minimum_rows: int, test: Test) -> Rule:
    """No slice of `a` may be shown to be less accurate than `b` by more than the margin."""
    parts = [
        _slice(f"{column}={value}", a.where(values == value), b.where(values == value), margin, minimum_rows, test)
        for column, values in a.slices.items()
        for value in sorted(set(values.tolist()))
    ]
    return rules.slices_not_harmed("slices", parts, margin=margin, alpha=test.alpha)


def _slice(name: str, a: Predictions, b: Predictions, margin: float, minimum_rows: int, test: Test) -> Slice:
    found = scoring.differences(a, b, replicates=test.replicates, seed=test.seed)["accuracy"]
    low, high = found.interval(test.confidence) or (None, None)
    figure = Figure(value=found.value, low=low, high=high, rows=len(a.ids))
    better = (a.predicted == a.actual) * 1.0 - (b.predicted == b.actual)
    sums = np.bincount(a.group_numbers, weights=better).astype(np.float64)
    sizes = np.bincount(a.group_numbers).astype(np.float64)
    harmed = statistics.p_mean_below(sums, sizes, -margin)
    return Slice(name=name, difference=figure, p_harmed=harmed, judged=len(a.ids) >= minimum_rows)


def slice_gap(p: Predictions, *, ceiling: float, minimum_rows: int, test: Test) -> Rule:
    """The accuracies of no two slices of a column may lie further apart than the ceiling."""
    gap = gaps.largest(p, minimum_rows=minimum_rows, test=test)
    if gap is None:
        told = f"No column has two slices of at least {minimum_rows:,} rows to compare."
        return rules.stated("slice_gap", "pass", told)
    subject = f"The largest gap of accuracy between slices ({gap.better} over {gap.worse})"
    return rules.below("slice_gap", subject, gap.figure, ceiling, test, unit="accuracy")


def negative_flips(a: Predictions, b: Predictions, *, ceiling: float, test: Test) -> Rule:
    """The rows that `b` has right and `a` has wrong have to be shown to be fewer than the ceiling."""
    figure = flips.share(flips.negative(a, b), a, test)
    subject = "The share of rows that the champion has right and the candidate has wrong"
    return rules.below("negative_flips", subject, figure, ceiling, test, unit="share")


def budget(a: Predictions, b: Predictions, *, against: str, tolerance: float, test: Test) -> Budget:
    """How many decisions the test set supports, going by the rows that just one of `a` and `b` has right."""
    scoring.check_same_rows(a, b)
    difference = (a.predicted == a.actual) * 1.0 - (b.predicted == b.actual)
    seen = flips.share(difference != 0, a, test)
    discordant = seen.high if seen.high is not None else 1.0
    factor = design_effect(difference, a.group_numbers)
    rows = len(a.ids) / factor
    number = supports(rows=rows, discordant=discordant, tolerance=tolerance, alpha=test.alpha)
    return Budget(
        supports=number, against=against, discordant=discordant, design_effect=factor, effective_rows=rows,
        tolerance=tolerance, alpha=test.alpha,
    )  # fmt: skip
