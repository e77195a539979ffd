"""The log gives back what was put in, with the true labels that may count, and forgets what is old and unlabelled."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tidegate.errors import DataError
from tidegate.serving.prediction_log import Feedback, PredictionLog, prune
from tidegate.serving.tables import predictions, shadow

COLUMNS = [
    "seq", "id", "at", "model", "text", "label", "probabilities", "tokens", "unknown", "audit", "document", "actual",
]  # fmt: skip


def row(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": name, "at": 100.0, "model": "m", "text": f"text {name}", "label": "good", "probabilities": "[0.25,0.75]",
        "tokens": 4, "unknown": 1, "audit": 0, "document": None,
    } | changes  # fmt: skip


@pytest.fixture
def filled(prediction_log: PredictionLog) -> Callable[..., PredictionLog]:
    def fill(*rows: dict[str, Any]) -> PredictionLog:
        with prediction_log.transaction() as connection:
            connection.execute(predictions.insert(), list(rows))
        return prediction_log

    return fill


def given(name: str, label: str, kind: Any = "volunteered", by: str = "ada") -> Feedback:
    return Feedback(prediction_id=name, label=label, by=by, kind=kind)


def test_a_window_has_the_columns_that_monitoring_reads(filled: Any) -> None:
    log = filled(row("a", audit=1, document="d"), row("b"))
    frame = log.window()
    assert frame.columns == COLUMNS
    assert frame.schema["probabilities"] == pl.List(pl.Float64)
    assert frame.drop("seq").row(0) == (
        "a", 100.0, "m", "text a", "good", [0.25, 0.75], 4, 1, True, "d", None
    )  # fmt: skip
    assert frame["document"].to_list() == ["d", None]
    assert log.window(after_seq=99).schema == frame.schema


def test_windows_go_on_where_the_last_one_ended_and_can_be_narrowed(filled: Any) -> None:
    log = filled(row("a"), row("b", at=200.0), row("c", model="n"))
    first = log.window(limit=1)
    assert first["id"].to_list() == ["a"]
    assert log.window(first["seq"][-1])["id"].to_list() == ["b", "c"]
    assert log.window(since=150)["id"].to_list() == ["b"]
    assert log.window(model="n")["id"].to_list() == ["c"]


@pytest.mark.parametrize(
    ("audit", "labels", "actual"),
    [
        (0, [("good", "volunteered")], "good"),
        (0, [("good", "volunteered"), ("bad", "volunteered")], "bad"),  # the latest
        (0, [("good", "audit")], "good"),
        (1, [("bad", "volunteered")], None),  # who complains is no random sample
        (1, [("good", "audit"), ("bad", "volunteered")], "good"),
        (1, [("bad", "volunteered"), ("good", "audit")], "good"),
    ],
)
def test_which_true_label_counts(filled: Any, audit: int, labels: list[Any], actual: str | None) -> None:
    log = filled(row("a", audit=audit))
    assert log.record_feedback([given("a", *label) for label in labels]) == [True] * len(labels)
    assert log.window()["actual"].to_list() == [actual]


def test_a_label_for_an_unknown_prediction_is_not_kept_and_an_equal_one_not_twice(filled: Any, var: Path) -> None:
    log = filled(row("a"))
    assert log.record_feedback([given("a", "x"), given("z", "x"), given("a", "x")]) == [True, False, True]
    database = sqlite3.connect(var / "predictions" / "channels.db")
    assert database.execute("SELECT prediction_id, label, by, kind FROM feedback").fetchall() == [
        ("a", "x", "ada", "volunteered")
    ]
    log.record_feedback([given("a", "y"), given("a", "x")])
    assert database.execute("SELECT count(*) FROM feedback").fetchone() == (3,)
    database.close()


def test_what_is_labelled_has_the_latest_label_of_any_kind(filled: Any) -> None:
    log = filled(row("a", audit=1), row("b"))
    log.record_feedback([given("a", "good", "audit"), given("a", "bad")])
    assert log.labelled().select("id", "actual", "kind").rows() == [("a", "bad", "volunteered")]


def test_what_is_old_is_pruned_a_few_at_a_time_unless_it_has_a_true_label(filled: Any) -> None:
    log = filled(row("a"), row("b"), row("c"), row("new", at=500.0))
    log.record_feedback([given("b", "good")])
    with log.transaction() as connection:
        connection.execute(
            shadow.insert(),
            {"prediction_id": "a", "at": 1.0, "model": "m", "label": "x", "probabilities": "[]"},
        )
        assert prune(connection, 400.0, 1) == 1
        assert prune(connection, 400.0, 1) == 1
        assert prune(connection, 400.0, 1) == 0
        assert connection.execute(shadow.select()).all() == []
    assert log.window()["id"].to_list() == ["b", "new"]


def test_numbers_are_never_given_again(filled: Any) -> None:
    log = filled(row("a"))
    last = log.window()["seq"][-1]
    with log.transaction() as connection:
        prune(connection, 400.0, 9)
    assert filled(row("b")).window()["seq"][-1] > last


def test_commits_are_on_the_disk_and_readers_hold_up_nobody(prediction_log: PredictionLog) -> None:
    with prediction_log.transaction() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


@pytest.mark.parametrize(
    "uri",
    ["nonsense", "sqlite:////dev/null/x.db", "oddbase://ada:secret@host/db", "postgresql+nodriver://ada:secret@h/d"],
)
def test_a_log_that_cannot_be_opened_is_named_without_its_password(var: Path, uri: str) -> None:
    with pytest.raises(DataError, match=r"the prediction log .* cannot be used") as caught:
        PredictionLog("channels", uri)
    assert "secret" not in str(caught.value)
