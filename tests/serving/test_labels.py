"""Rows to label are of two kinds; labels come back in bulk without guessing; a snapshot moves with its rows alone."""

import csv
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tidegate import commands, files
from tidegate.errors import DataError
from tidegate.serving import labels
from tidegate.serving.prediction_log import Feedback, PredictionLog
from tidegate.serving.tables import predictions

KNOWN = ["negative", "neutral", "positive"]


def row(name: str, sure: float = 0.5, *, audit: int = 0, text: str | None = None, document: str | None = None) -> Any:
    return {
        "id": name, "at": 1_700_000_000.5, "model": "m", "text": text or f"text {name}", "label": "neutral",
        "probabilities": f"[{(1 - sure) / 2},{sure},{(1 - sure) / 2}]", "tokens": 1, "unknown": 0, "audit": audit,
        "document": document,
    }  # fmt: skip


@pytest.fixture
def fill(prediction_log: PredictionLog) -> Callable[..., PredictionLog]:
    def make(*rows: Any) -> PredictionLog:
        with prediction_log.transaction() as connection:
            connection.execute(predictions.insert(), list(rows))
        return prediction_log

    return make


def read(path: Path) -> list[tuple[str, str]]:
    with path.open(newline="") as stream:
        return [(line["id"], line["kind"]) for line in csv.DictReader(stream)]


def give(log: PredictionLog, *labelled: tuple[str, str]) -> None:
    log.record_feedback([Feedback(prediction_id=i, label=x, by="ada", kind="audit") for i, x in labelled])


def test_the_audit_sample_and_the_uncertain_ones_are_kept_apart(fill: Any, tmp_path: Path) -> None:
    log = fill(
        row("a", 0.9, audit=1), row("b", 0.4), row("c", 0.6), row("d", 0.4, text="text b"), row("e", 0.35, audit=1),
        row("f", 0.5), row("done", 0.34, audit=1), row("known", 0.34),
    )  # fmt: skip
    give(log, ("done", "neutral"), ("known", "neutral"))
    target = tmp_path / "rows.csv"
    assert labels.sample(log, target, 2) == {"audit": 2, "uncertain": 2}
    assert read(target) == [("a", "audit"), ("e", "audit"), ("b", "uncertain"), ("f", "uncertain")]


def test_a_sample_that_was_filled_in_comes_back_whole(fill: Any, tmp_path: Path) -> None:
    log = fill(row("a", audit=1, text='a "quoted", text\nof two lines'), row("b"))
    target = tmp_path / "rows.csv"
    labels.sample(log, target, 5)
    frame = pl.read_csv(target).with_columns(pl.Series("label", ["positive", "negative"]))
    frame.write_csv(target)
    assert labels.take_in(log, target, KNOWN, by="ada") == 2
    assert log.window()["actual"].to_list() == ["positive", "negative"]
    assert labels.sample(log, target, 5) == {"audit": 0, "uncertain": 0}


def test_unknown_classes_and_ids_are_named_by_line_and_left_out(fill: Any, tmp_path: Path) -> None:
    log = fill(row("a"), row("b"), row("c"))
    source = tmp_path / "labels.csv"
    source.write_text("id,label,by\na,positive,bob\nb,Positive,\nz,neutral,\nc,,\n")
    with pytest.raises(DataError) as caught:
        labels.take_in(log, source, KNOWN, by="ada")
    told = str(caught.value)
    assert "line 3: 'Positive' is none of: negative, neutral, positive" in told
    assert "line 4: no prediction has the id 'z'" in told
    assert "2 rows were left out" in told
    assert "The other 1 were taken in" in told
    assert log.labelled().select("id", "actual").rows() == [("a", "positive")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is missing"),
        (b"", "has no column id and no label"),
        (b"id;label\na;x\n", "has no column"),
        (b"\xff\xfe", "is no CSV in UTF-8"),
    ],
)
def test_a_file_that_is_none_is_named(fill: Any, tmp_path: Path, content: bytes | None, words: str) -> None:
    source = tmp_path / "labels.csv"
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(DataError, match=words):
        labels.take_in(fill(row("a")), source, KNOWN, by="ada")


def test_a_snapshot_has_what_ingest_takes(fill: Any, var: Path) -> None:
    log = fill(row("a", document="d"), row("b"), row("c"))
    give(log, ("a", "positive"), ("b", "negative"))
    digest = labels.snapshot(log, None)
    path = var / "feedback" / f"{digest}.parquet"
    assert files.sha256(path) == digest
    frame = pl.read_parquet(path)
    assert frame.drop("received_at", "kind").rows() == [
        ("feedback-a", "text a", "positive", "d"),
        ("feedback-b", "text b", "negative", "feedback-b"),
    ]
    assert frame["received_at"][0] == datetime.fromtimestamp(1_700_000_000.5, UTC)


def test_a_snapshot_stays_where_no_label_came_and_moves_where_one_did(fill: Any, var: Path) -> None:
    log = fill(row("a"), row("b"))
    assert labels.snapshot(log, None) is None
    assert labels.snapshot(log, "f" * 64) is None
    give(log, ("a", "positive"))
    first = labels.snapshot(log, None)
    assert labels.snapshot(log, None) == first, "equal rows have equal bytes"
    before = (var / "feedback" / f"{first}.parquet").stat()
    assert labels.snapshot(log, first) == first
    assert (var / "feedback" / f"{first}.parquet").stat() == before
    give(log, ("a", "negative"))
    second = labels.snapshot(log, first)
    assert second not in (None, first)
    assert len(list((var / "feedback").iterdir())) == 2


def test_the_commands_join_it_all(
    root: Path, crown: Callable[..., str], fill: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crown()
    log, target = fill(row("a", audit=1)), tmp_path / "rows.csv"
    commands.sample(root, target, 10)
    target.write_text("id,label\na,positive\n")
    commands.feedback(root, target, by="ada")
    assert "1 labels taken in" in capsys.readouterr().out
    assert log.window()["actual"].to_list() == ["positive"]
