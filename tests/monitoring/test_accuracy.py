"""The sequential test holds its rate under every way of looking, and finds a real loss in the rows that are stated."""

import math
from typing import Any

import numpy as np
import polars as pl
import pytest

from monitoring.accuracy import log_e_value, watched
from tidegate.monitor_settings import Accuracy

BOUND, BLOCK = 0.73, 200


def looks(right: Any, *, every: int = 20) -> list[float]:
    """The evidence after each look."""
    blocks = np.arange(len(right)) // BLOCK
    return [log_e_value(right[:n], blocks[:n], bound=BOUND) for n in range(every, len(right) + 1, every)]


def test_it_rarely_ever_cries_while_accuracy_is_at_the_bound() -> None:
    """400 champions exactly at the bound, looked at 100 times each: at alpha 0.05 at most 5 % may ever be accused."""
    chance = np.random.default_rng(0)
    ever = [max(looks(chance.random(2000) < BOUND)) >= math.log(20) for _ in range(400)]
    assert np.mean(ever) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)


def test_the_evidence_has_mean_one_at_most_at_the_bound() -> None:
    """What makes it valid at any stopping time; a mean over all ways that 12 labels may come."""
    ways = (np.arange(2**12)[:, None] >> np.arange(12)) & 1 == 1
    chances = np.prod(np.where(ways, BOUND, 1 - BOUND), axis=1)
    blocks = np.arange(12) // 5
    means = [math.exp(log_e_value(way, blocks, bound=BOUND)) for way in ways]
    assert np.dot(chances, means) == pytest.approx(1.0)


@pytest.mark.parametrize(("accuracy", "rows"), [(0.65, 800), (0.60, 400)])
def test_a_loss_is_found_within_the_rows_that_are_stated(accuracy: float, rows: int) -> None:
    """Reference 0.75, tolerance 0.02; alpha 0.01: losses of 10 and 15 points, in 9 of 10 cases."""
    chance = np.random.default_rng(1)
    found = [max(looks(chance.random(rows) < accuracy)) >= math.log(100) for _ in range(100)]
    assert np.mean(found) >= 0.9


def test_a_champion_that_was_good_for_long_is_found_too() -> None:
    chance = np.random.default_rng(2)
    right = np.concatenate([chance.random(2000) < 0.8, chance.random(1000) < 0.6])
    evidence = looks(right)
    assert max(evidence[:100]) < math.log(100) < max(evidence)


def test_the_order_in_which_the_labels_of_a_block_come_makes_no_difference() -> None:
    right = np.random.default_rng(3).random(300) < 0.6
    blocks = np.arange(300) // 100
    order = np.random.default_rng(4).permutation(300)
    assert log_e_value(right, blocks, bound=BOUND) == pytest.approx(
        log_e_value(right[order], blocks[order], bound=BOUND)
    )


def test_no_label_no_evidence() -> None:
    nothing = np.zeros(0, dtype=bool)
    assert log_e_value(nothing, np.zeros(0, dtype=np.intp), bound=BOUND) == 0.0


HOW = Accuracy(alpha=0.01, tolerance=0.02, block=200)


def audited(actual: list[str | None], document: list[str | None] | None = None) -> pl.DataFrame:
    schema = {"label": pl.String, "actual": pl.String, "document": pl.String}
    columns = {"label": ["a"] * len(actual), "actual": actual, "document": document or [None] * len(actual)}
    return pl.DataFrame(columns, schema=schema)


def test_without_labels_nothing_is_said() -> None:
    assert watched(audited([None, None]), HOW, reference=0.75) is None


def test_rows_without_a_label_count_for_nothing() -> None:
    seen = watched(audited(["a", None, "b", "a"]), HOW, reference=0.75)
    assert seen is not None
    assert (seen["rows"], seen["accuracy"], seen["bound"], seen["finding"]) == (3, pytest.approx(2 / 3), 0.73, False)


def test_one_row_a_document_is_evidence() -> None:
    """A hundred wrong sentences of one text are one error, not a hundred."""
    together = watched(audited(["b"] * 100, ["d"] * 100), HOW, reference=0.75)
    apart = watched(audited(["b"] * 100), HOW, reference=0.75)
    assert together is not None
    assert apart is not None
    assert (together["documents"], together["finding"]) == (1, False)
    assert (apart["documents"], apart["finding"]) == (100, True)
