"""One retraining at a time, whoever asks and however many; what is refused says why; nothing is lost to a kill."""

import json
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitoring import ledger
from tidegate.errors import DataError
from tidegate.files import append_line
from tidegate.monitor_settings import Retrain

HOUR = 3600.0
HOW = Retrain(mode="recover", minimum_new_labels=100, cooldown_hours=24, longest_hours=12)
ALARM = {"signals": {"length": {"value": 0.3}}, "why": "2 of the latest 3 windows drifted (length: longer)"}


def raised(window: int = 1, *, now: float = 0.0, labels: int = 500, how: Retrain = HOW) -> ledger.Entry:
    span = {"first": 500 * window, "last": 500 * window + 499}
    return ledger.record("channels", ALARM, model="m1", window=span, new_labels=labels, how=how, now=now)


def standing(now: float = 0.0) -> ledger.Standing:
    return ledger.standing(ledger.entries("channels"), now, HOW)


def path_of(var: Path) -> Path:
    return var / "alarms" / "channels.jsonl"


def test_an_alarm_stands_in_the_ledger_with_its_evidence_and_the_decision(var: Path) -> None:
    entry = raised(now=3.0)
    assert [json.loads(line) for line in path_of(var).read_text().splitlines()] == [entry]
    assert entry["decision"] == "retrain"
    assert entry["evidence"] == {"length": {"value": 0.3}}
    assert entry["at"] == "1970-01-01T00:00:03Z"
    assert standing().waiting == [entry["id"]]


def test_the_same_alarm_twice_is_one_entry(var: Path) -> None:
    assert raised() == raised(now=5.0, labels=0)
    assert len(path_of(var).read_text().splitlines()) == 1


def test_while_a_retraining_runs_no_other_starts(var: Path) -> None:
    first, second = raised(1), raised(2)
    assert (first["decision"], second["decision"]) == ("retrain", "refused")
    assert second["because"] == f"the retraining of alarm {first['id']} runs"


def test_within_the_cooldown_none_starts_and_after_it_one_does(var: Path) -> None:
    first = raised(1)
    ledger.close("channels", first["id"], "promoted", why="better", now=2 * HOUR)
    refused, later = raised(2, now=16 * HOUR), raised(3, now=26 * HOUR)
    assert refused["because"] == "the last retraining cools down for 10.0 hours more"
    assert refused["cooldown_until"] == "1970-01-02T02:00:00Z"
    assert later["decision"] == "retrain"


def test_without_new_labels_none_starts(var: Path) -> None:
    assert raised(labels=99)["because"] == "there are 99 new labelled rows, and 100 are asked for"
    assert standing().running is None
    assert raised(2, labels=100)["decision"] == "retrain"


def test_a_retraining_that_nobody_closed_counts_as_failed_and_cools_down(var: Path) -> None:
    first = raised(1)
    assert ledger.start("channels", first["id"], by="flow run 7", how=HOW, now=1 * HOUR)
    assert standing(12.9 * HOUR).running == first["id"]
    gone = standing(13.1 * HOUR)
    assert (gone.running, gone.outcomes[first["id"]], gone.free_at) == (None, "failed", 37 * HOUR)
    assert raised(2, now=36 * HOUR)["decision"] == "refused"
    assert raised(3, now=38 * HOUR)["decision"] == "retrain"


def test_one_that_was_never_begun_waits_and_then_fails_too(var: Path) -> None:
    first = raised(1)
    assert standing(11 * HOUR).waiting == [first["id"]]
    assert standing(13 * HOUR).waiting == []
    assert standing(13 * HOUR).outcomes == {first["id"]: "failed"}
    assert not ledger.start("channels", first["id"], by="late", how=HOW, now=13 * HOUR)


def test_a_retraining_is_claimed_once(var: Path) -> None:
    name = raised()["id"]
    assert [ledger.start("channels", name, by=who, how=HOW, now=1.0) for who in ("a", "b")] == [True, False]


def test_what_was_refused_cannot_be_begun_or_closed(var: Path) -> None:
    name = raised(labels=0)["id"]
    assert not ledger.start("channels", name, by="a", how=HOW, now=1.0)
    with pytest.raises(DataError, match=r"holds no alarm .* to start a retraining"):
        ledger.close("channels", name, "promoted", why="?")


def test_the_first_outcome_stays(var: Path) -> None:
    name = raised()["id"]
    ledger.close("channels", name, "promoted", why="better", now=1.0, candidate="c2")
    ledger.close("channels", name, "failed", why="?", now=2.0)
    assert standing().outcomes == {name: "promoted"}
    closed = [entry for entry in ledger.entries("channels") if entry["event"] == "closed"]
    assert [(entry["outcome"], entry["candidate"]) for entry in closed] == [("promoted", "c2")]


def test_a_late_outcome_takes_the_place_of_the_failure_that_was_assumed(var: Path) -> None:
    name = raised()["id"]
    ledger.close("channels", name, "not_promoted", why="slow", now=20 * HOUR)
    known = standing(21 * HOUR)
    assert known.outcomes == {name: "not_promoted"}
    assert known.free_at == 44 * HOUR


def test_alarms_of_which_no_message_arrived_are_known(var: Path) -> None:
    first, second = raised(1)["id"], raised(2)["id"]
    ledger.note_message("channels", first, to="json://...", sent=False, why="refused")
    ledger.note_message("channels", second, to="json://...", sent=True, why="")
    assert standing().untold == [first]


@pytest.mark.parametrize("cut", [1, 30])
def test_a_line_torn_by_a_kill_is_passed_over(var: Path, cut: int) -> None:
    raised(1)
    path_of(var).write_bytes(path_of(var).read_bytes()[:-cut])
    assert raised(2)["decision"] == "retrain" if cut > 1 else "refused"


def _one_of_many(window: int, barrier: Any, answers: Any) -> None:
    def gives_way(path: Path, entry: ledger.Entry) -> None:
        for _ in range(300):
            os.sched_yield()  # between what was read and what is written, all others may come
        append_line(path, entry)

    ledger.append_line = gives_way  # type: ignore[attr-defined]  # in this process alone
    barrier.wait()
    answers.put(raised(window)["decision"])


def test_of_a_hundred_simultaneous_alarms_one_starts_a_retraining(var: Path) -> None:
    """Processes, each with a window of its own."""
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(100), context.Queue()
    crowd = [context.Process(target=_one_of_many, args=(n, barrier, answers)) for n in range(100)]
    for process in crowd:
        process.start()
    decisions = [answers.get(timeout=120) for _ in crowd]
    for process in crowd:
        process.join()
    assert sorted(decisions) == ["refused"] * 99 + ["retrain"]
    assert len(list(ledger.entries("channels"))) == 100


def test_no_cooldown_is_none(var: Path) -> None:
    how = replace(HOW, cooldown_hours=0)
    ledger.close("channels", raised(1, how=how)["id"], "failed", why="disk full", now=1.0)
    assert raised(2, now=2.0, how=how)["decision"] == "retrain"
