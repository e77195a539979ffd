"""The gate's rules about predictions: resamples the figures and holds them against their bounds.

What a rule says of a figure is in `rules`; which rules there are, and their bounds, in `stages/gate`.
"""

from collections.abc import Iterator, Mapping

from tidegate.evidence import rules, scoring
from tidegate.evidence.rules import Figure, Rule, Slice, Test
from tidegate.evidence.scoring import Decision, Predictions

WORDS: dict[Decision, str] = {"accuracy": "Accuracy", "macro_f1": "Macro-F1"}


def compared(
    role: str, whose: str, a: Predictions, b: Predictions, bounds: Mapping[Decision, float], test: Test
) -> Iterator[Rule]:
    """A rule by figure: `a` minus `b` has to be shown to be above its bound (0: superior, below 0: not inferior).

    Args:
        role: begins the names of the rules.
        whose: the other model in a sentence, as "the baseline's".
    """
    found = scoring.paired(a, b, replicates=test.replicates, seed=test.seed, confidence=test.confidence)
    for name, bound in bounds.items():
        figure = Figure.of(found[name], len(a.ids))
        yield rules.above(f"{role}_{name}", f"{WORDS[name]} minus {whose}", figure, bound, test, unit="difference")


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
    return Slice(name=name, difference=figure, p_harmed=found.p_below(-margin), judged=len(a.ids) >= minimum_rows)
