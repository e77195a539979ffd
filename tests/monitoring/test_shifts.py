"""Drift that is made on purpose is what it says, and seeded."""

import numpy as np
import polars as pl
import pytest

from monitoring import shifts


def test_rows_kept_come_to_have_the_share_that_is_asked_for() -> None:
    labels = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    kept = shifts.kept_by(labels, {"c": 0.4})
    expected = {name: sum(k for k, label in zip(kept, labels, strict=True) if label == name) for name in "abc"}
    total = sum(expected.values())
    assert {name: value / total for name, value in expected.items()} == pytest.approx({"a": 0.4, "b": 0.2, "c": 0.4})


def test_a_kind_that_is_gone_is_gone() -> None:
    kept = shifts.kept_by(["a", "b", "a"], {"a": 0.0})
    assert kept.tolist() == [0.0, 1.0, 0.0]


def test_a_window_is_made_of_whole_documents() -> None:
    groups = np.repeat(np.arange(30), 4)
    rows = shifts.window_of(groups, 30, np.random.default_rng(0))
    assert 30 <= len(rows) < 34
    assert np.bincount(groups[rows]).max() == np.bincount(groups[rows])[np.bincount(groups[rows]) > 0].min() == 4
    assert rows.tolist() == shifts.window_of(groups, 30, np.random.default_rng(0)).tolist()


def test_a_part_of_the_documents_is_changed_and_as_a_whole() -> None:
    rows = pl.DataFrame({"text": [f"t{n}" for n in range(100)]})
    changed = pl.DataFrame({"text": ["x"] * 100})
    groups = np.repeat(np.arange(20), 5)
    found = shifts.partly(rows, changed, groups, 0.5, np.random.default_rng(0))
    by_document = (found["text"] == "x").to_numpy().reshape(20, 5)
    assert (by_document.all(axis=1) | ~by_document.any(axis=1)).all()
    assert 0 < by_document[:, 0].sum() < 20


@pytest.mark.parametrize(
    ("text", "changed"),
    [("I love the film", "yo amor la película"), ("Zebra zebra", "Zebra zebra")],
)
def test_words_that_are_known_are_translated(text: str, changed: str) -> None:
    assert shifts.translated(text) == changed


def test_truncation_keeps_the_beginning_and_at_least_a_word() -> None:
    assert shifts.truncated("a b c d", 0.5) == "a b"
    assert shifts.truncated("a", 0.1) == "a"


def test_typing_errors_come_in_a_share_of_the_long_words() -> None:
    text = " ".join(["wonderful"] * 1000 + ["the"] * 100)
    words = shifts.mistyped(text, 0.2, np.random.default_rng(0)).split(" ")
    assert 0.15 < sum(word != "wonderful" for word in words[:1000]) / 1000 < 0.25
    assert words[1000:] == ["the"] * 100
