"""The log of promotions keeps every promotion once, and survives a kill in the middle of a line."""

import json
from pathlib import Path
from typing import Any

import pytest

from tidegate import promotion_log
from tidegate.files import digest_json


def decision(candidate: str = "c1", **others: Any) -> dict[str, Any]:
    return {"task": "channels", "candidate": candidate, "champion": None, "reasons": ["better: é"], **others}


def log_of(var: Path, task: str = "channels") -> Path:
    return var / "promotions" / f"{task}.jsonl"


def test_nothing_is_logged_before_the_first_promotion(var: Path) -> None:
    assert list(promotion_log.entries("channels")) == []
    assert not promotion_log.holds(decision())
    assert list(var.iterdir()) == []


def test_an_entry_says_what_replaced_what_and_why(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "ada")
    promotion_log.append(decision(champion="c0"), 7)
    (entry,) = promotion_log.entries("channels")
    assert entry.pop("at").endswith("Z")
    assert entry == {
        "candidate": "c1",
        "previous": "c0",
        "version": 7,
        "decision": digest_json(decision(champion="c0")),
        "by": "ada",
        "why": ["better: é"],
    }


def test_a_decision_is_logged_once_and_the_oldest_stands_first(var: Path) -> None:
    for candidate in ("c1", "c2", "c1", "c2"):
        promotion_log.append(decision(candidate), 1)
    assert [entry["candidate"] for entry in promotion_log.entries("channels")] == ["c1", "c2"]
    assert promotion_log.holds(decision("c2"))
    assert not promotion_log.holds(decision("c2", champion="c1"))  # another decision on the same candidate


def test_tasks_have_logs_of_their_own(var: Path) -> None:
    promotion_log.append(decision(), 1)
    promotion_log.append(decision(task="reviews"), 1)
    assert len(list(promotion_log.entries("channels"))) == 1
    assert log_of(var).exists()
    assert log_of(var, "reviews").exists()


@pytest.mark.parametrize("cut", [1, 20, 100, 200])
def test_a_line_torn_by_a_kill_is_passed_over_and_written_anew(var: Path, cut: int) -> None:
    promotion_log.append(decision("c1"), 1)
    promotion_log.append(decision("c2"), 2)
    path = log_of(var)
    path.write_bytes(path.read_bytes()[:-cut])
    promotion_log.append(decision("c2"), 2)
    promotion_log.append(decision("c3"), 3)
    assert [entry["candidate"] for entry in promotion_log.entries("channels")] == ["c1", "c2", "c3"]
    assert path.read_bytes().endswith(b"}\n")


def test_a_line_torn_within_a_character_is_passed_over(var: Path) -> None:
    promotion_log.append(decision("c1"), 1)
    path = log_of(var)
    path.write_bytes(path.read_bytes() + '{"why": "é'.encode()[:-1])
    promotion_log.append(decision("c2"), 2)
    assert [entry["candidate"] for entry in promotion_log.entries("channels")] == ["c1", "c2"]


@pytest.mark.parametrize("line", ["3", "null", "[]", '{"candidate": "c"}'])
def test_a_line_that_is_no_entry_is_passed_over(var: Path, line: str) -> None:
    promotion_log.append(decision("c1"), 1)
    with log_of(var).open("a") as stream:
        stream.write(line + "\n")
    assert not promotion_log.holds(decision("c2"))
    assert [entry["candidate"] for entry in promotion_log.entries("channels")] == ["c1"]


def test_earlier_lines_are_never_touched(var: Path) -> None:
    promotion_log.append(decision("c1"), 1)
    before = log_of(var).read_bytes()
    promotion_log.append(decision("c2", reasons=["a line\u2028end"]), 2)
    assert log_of(var).read_bytes().startswith(before)
    assert [json.loads(line)["candidate"] for line in log_of(var).read_bytes().splitlines()] == ["c1", "c2"]
    assert len(list(promotion_log.entries("channels"))) == 2
