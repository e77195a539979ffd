"""Windows of a log by count and by time, and their rows with the labels that came back."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from monitoring import windows
from tidegate.monitor_settings import Window

COUNT = Window(rows=50, hours=None)
TIME = Window(rows=50, hours=1.0)


@pytest.fixture
def url(tmp_path: Path) -> str:
    path = tmp_path / "log.db"
    base = sqlite3.connect(path)
    base.executescript(
        "CREATE TABLE predictions (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, at REAL, model TEXT, text TEXT, label TEXT,"
        " probabilities TEXT, tokens INTEGER, unknown INTEGER, audit INTEGER, document TEXT);"
        "CREATE TABLE feedback (seq INTEGER PRIMARY KEY, prediction_id TEXT, label TEXT, at REAL, by TEXT, kind TEXT);"
    )
    rows = [
        (n, f"p{n}", 60.0 * n, "m2" if n % 10 == 0 else "m1", f"text {n}", "a", json.dumps([0.75, 0.25]), 4, n % 2,
         int(n % 5 == 1), None if n % 2 else "d")
        for n in range(1, 131)
    ]  # fmt: skip
    base.executemany("INSERT INTO predictions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    labels = [(1, "p1", "b", "audit"), (2, "p1", "a", "audit"), (3, "p6", "b", "volunteered"), (4, "p2", "b", "audit")]
    base.executemany("INSERT INTO feedback VALUES (?, ?, ?, 0, 'ada', ?)", labels)
    base.commit()
    base.close()
    return f"sqlite:///{path}"


def test_windows_by_count_are_those_that_are_full() -> None:
    seq = list(range(10, 1000, 7))
    found = windows.spans(seq, np.zeros(len(seq)), COUNT, now=0.0)
    assert found == [(seq[0], seq[49]), (seq[50], seq[99])]


def test_windows_by_time_are_those_that_are_past() -> None:
    at = np.array([10.0, 3599.0, 3600.0, 10_900.0, 14_500.0])
    assert windows.spans([1, 2, 5, 6, 9], at, TIME, now=14_600.0) == [(1, 2), (5, 5), (6, 6)]


def test_a_model_has_windows_of_its_own_rows(url: str) -> None:
    spans = windows.complete(url, "m1", COUNT, now=0.0)
    assert spans == [(1, 55), (56, 111)]
    assert windows.complete(url, "m1", COUNT, now=0.0, after=55) == [(56, 111)]
    window = windows.read(url, "m1", *spans[0])
    assert len(window.rows) == 50
    assert "p10" not in window.rows["id"]


def test_rows_come_as_a_window_is_asked_for(url: str) -> None:
    rows = windows.read(url, "m1", 1, 6).rows
    assert rows.columns == [
        "id", "at", "text", "label", "probabilities", "tokens", "unknown", "audit", "document", "actual"
    ]  # fmt: skip
    assert rows["probabilities"].to_list()[0] == [0.75, 0.25]
    assert rows["audit"].to_list() == [True, False, False, False, False, True]
    assert rows["document"].to_list()[:2] == [None, "d"]
    assert rows["actual"].to_list() == ["a", "b", None, None, None, "b"]


def test_of_the_audit_sample_only_audit_labels_count(url: str) -> None:
    rows = windows.audited(url, "m1", last=60)
    assert rows["audit"].all()
    assert dict(zip(rows["id"], rows["actual"], strict=True)) | {"p1": "a"} == {
        f"p{n}": "a" if n == 1 else None for n in range(1, 61, 5)
    }


def test_an_empty_log_has_no_window(url: str) -> None:
    assert windows.complete(url, "none", COUNT, now=0.0) == []
    assert len(windows.audited(url, "none", last=10)) == 0
