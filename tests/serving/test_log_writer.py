"""Rows are kept before their future is done, in groups; what fails is said and hurts nobody later."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from tidegate.errors import DataError
from tidegate.serving import log_writer
from tidegate.serving.log_writer import LogWriter
from tidegate.serving.prediction_log import PredictionLog
from tidegate.serving.tables import predictions

LONG = 30.0


def row(name: str, at: float | None = None) -> dict[str, Any]:
    return {
        "id": name, "at": at or time.time(), "model": "m", "text": "t", "label": "x", "probabilities": "[1.0]",
        "tokens": 1, "unknown": 0, "audit": 0, "document": None,
    }  # fmt: skip


@pytest.fixture
def writer(prediction_log: PredictionLog) -> Iterator[Callable[..., LogWriter]]:
    made: list[LogWriter] = []

    def make(**changes: Any) -> LogWriter:
        made.append(LogWriter(prediction_log, **({"keep_days": 1.0} | changes)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_row_is_kept_when_its_future_is_done(writer: Any, prediction_log: PredictionLog) -> None:
    writer().append([row("a"), row("b")]).result(LONG)
    with PredictionLog("channels", None) as other:  # as another process would see it
        assert other.window()["id"].to_list() == ["a", "b"]


def test_what_waits_shares_a_transaction(writer: Any, prediction_log: PredictionLog) -> None:
    seconds: list[float] = []
    one = writer(timed=seconds.append)
    inside, free = threading.Event(), threading.Event()

    def hold(_: sa.Connection) -> None:
        inside.set()
        assert free.wait(LONG)

    first = one.submit(hold)
    assert inside.wait(LONG)
    futures = [one.append([row(str(number))]) for number in range(50)]
    free.set()
    for future in (first, *futures):
        future.result(LONG)
    assert len(seconds) == 2
    assert prediction_log.window().height == 50


def test_rows_that_cannot_be_written_are_an_error_and_the_next_are_written(
    writer: Any, prediction_log: PredictionLog
) -> None:
    one = writer()
    one.append([row("a")]).result(LONG)
    with pytest.raises(DataError, match="UNIQUE"):
        one.append([row("a")]).result(LONG)
    assert "UNIQUE" in one.failure
    one.append([row("b")]).result(LONG)
    assert one.failure is None
    assert prediction_log.window()["id"].to_list() == ["a", "b"]


def test_who_has_gone_hurts_nobody(writer: Any) -> None:
    one = writer()
    inside, free = threading.Event(), threading.Event()
    one.submit(lambda _: (inside.set(), free.wait(LONG)))
    assert inside.wait(LONG)
    gone = [one.append([row("a")]), one.append([row("a")])]  # the group fails, too
    assert all(future.cancel() for future in gone)
    free.set()
    one.append([row("b")]).exception(LONG)
    one.append([row("c")]).result(LONG)


def test_closing_writes_what_waits(prediction_log: PredictionLog) -> None:
    one = LogWriter(prediction_log, keep_days=1)
    futures = [one.append([row(str(number))]) for number in range(2_000)]
    one.close()
    assert all(future.result(0) is None for future in futures)
    assert prediction_log.window().height == 2_000


def test_what_is_older_than_it_may_be_is_pruned_while_the_service_runs(
    prediction_log: PredictionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_writer, "_PRUNED_AT_ONCE", 3)
    monkeypatch.setattr(log_writer, "_PRUNE_PAUSE_S", 0)
    with prediction_log.transaction() as connection:
        connection.execute(predictions.insert(), [row(str(number), at=1.0) for number in range(10)] + [row("new")])
    one = LogWriter(prediction_log, keep_days=1)
    while prediction_log.window().height > 1:
        one.submit(lambda _: None).result(LONG)
    one.close()
    assert prediction_log.window()["id"].to_list() == ["new"]
