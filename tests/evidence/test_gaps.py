"""The largest gap between slices."""

import numpy as np
import pytest

from tidegate.evidence import gaps, judgement
from tidegate.evidence.rules import Test
from tidegate.evidence.scoring import Predictions

TEST = Test(alpha=0.025, power=0.8, replicates=1000, seed=0)


def sliced(shares: dict[str, float], *, rows: int = 400, size: int = 4, seed: int = 0, groups: int = 0) -> Predictions:
    """So many rows a slice, right with that chance; groups lie within a slice, and are right or wrong together."""
    chance = np.random.default_rng(seed)
    part = np.repeat(list(shares), rows)
    number = np.arange(len(part)) // size if not groups else chance.integers(0, groups, len(part))
    right = chance.random(number.max() + 1)[number] < np.repeat(list(shares.values()), rows)
    actual = chance.integers(0, 2, len(part))
    probabilities = np.eye(2)[np.where(right, actual, 1 - actual)]
    ids = np.arange(len(part)).astype(str)
    return Predictions(ids, number.astype(str), ("x", "y"), actual, probabilities, {"part": part})


def test_the_gap_is_that_of_the_best_and_the_worst_slice():
    p = sliced({"a": 0.9, "b": 0.6, "c": 0.75}, size=1)
    gap = gaps.largest(p, minimum_rows=100, test=TEST)
    assert gap is not None
    shares = {v: (p.predicted == p.actual)[p.slices["part"] == v].mean() for v in "abc"}
    assert (gap.better, gap.worse) == ("part=a", "part=b")
    assert gap.figure.value == pytest.approx(shares["a"] - shares["b"])
    assert gap.figure.rows == 800


def test_small_slices_and_lonely_ones_are_left_out():
    p = sliced({"a": 0.9, "b": 0.6})
    small = p.where(np.arange(800) < 450)
    assert gaps.largest(small, minimum_rows=100, test=TEST) is None
    assert judgement.slice_gap(small, ceiling=0.1, minimum_rows=100, test=TEST).verdict == "pass"


@pytest.mark.parametrize(("ceiling", "verdict"), [(0.05, "fail"), (0.3, "undecided"), (0.6, "pass")])
def test_the_gap_is_held_against_its_ceiling(ceiling: float, verdict: str):
    rule = judgement.slice_gap(sliced({"a": 0.9, "b": 0.6}), ceiling=ceiling, minimum_rows=100, test=TEST)
    assert rule.verdict == verdict
    assert "part=a over part=b" in rule.sentence


def rounds(shares: dict[str, float], count: int = 120) -> list[tuple[float, float, float]]:
    found = []
    for seed in range(count):
        gap = gaps.largest(sliced(shares, seed=seed, rows=200), minimum_rows=100, test=TEST)
        assert gap is not None
        found.append((gap.figure.low or 0.0, gap.figure.value or 0.0, gap.figure.high or 0.0))
    return found


def test_slices_that_are_equal_are_not_shown_to_differ():
    """The gap seen is never 0; resampled percentiles of the maximum would lie above 0 nearly always."""
    found = rounds(dict.fromkeys("abcdef", 0.7))
    assert min(value for _, value, _ in found) > 0.02
    assert sum(low > 0 for low, _, _ in found) <= 8  # 2.5 % of 120 are 3; nine or more have a chance below 0.01


def test_the_interval_holds_the_true_gap():
    found = rounds({"a": 0.85, "b": 0.7, "c": 0.7, "d": 0.6})
    assert sum(high < 0.25 for _, _, high in found) <= 8
    assert sum(low > 0.25 for low, _, _ in found) <= 8


def test_slices_that_share_groups_are_resampled_together():
    found = gaps.accuracies(sliced({"a": 0.8, "b": 0.8}, groups=60), "part", minimum_rows=1, test=TEST)
    a, b = found["a"].draws, found["b"].draws
    assert np.corrcoef(a, b)[0, 1] > 0.3


def test_too_few_groups_give_no_interval():
    rule = judgement.slice_gap(sliced({"a": 0.9, "b": 0.6}, size=400), ceiling=0.9, minimum_rows=100, test=TEST)
    assert (rule.verdict, rule.low) == ("undecided", None)
