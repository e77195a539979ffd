"""The log keeps what happened once and in order, and survives a kill in the middle of a line."""

import json
from pathlib import Path
from typing import Any

import pytest

from tidegate.errors import RegistryError
from tidegate.release import log


def note(candidate: str = "c1", *, decision: str | None = None, task: str = "channels", **others: Any) -> None:
    log.append_once(
        task, "promoted", decision=decision or candidate, candidate=candidate, why=["better: é"], **others
    )  # fmt: skip


def log_of(var: Path, task: str = "channels") -> Path:
    return var / "promotions" / f"{task}.jsonl"


def candidates() -> list[str]:
    return [entry["candidate"] for entry in log.entries("channels")]


def test_nothing_is_logged_before_the_first_promotion(var: Path) -> None:
    assert list(log.entries("channels")) == []
    assert list(var.iterdir()) == []


def test_an_entry_says_what_happened_who_when_and_why(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "ada")
    note(previous="c0")
    log.append("channels", "rejected", candidate="c2", why=["rude"], by="grace")
    first, second = log.entries("channels")
    assert first.pop("at") <= second.pop("at") <= log.now()
    assert first.pop("seal") != second.pop("seal")
    assert first == {
        "event": "promoted", "candidate": "c1", "previous": "c0", "decision": "c1", "by": "ada", "why": ["better: é"]
    }  # fmt: skip
    assert second == {"event": "rejected", "candidate": "c2", "by": "grace", "why": ["rude"]}


def test_what_a_decision_led_to_is_logged_once_and_the_oldest_stands_first(var: Path) -> None:
    for candidate in ("c1", "c2", "c1", "c2"):
        note(candidate)
    assert candidates() == ["c1", "c2"]
    note("c2", decision="another decision on the same candidate")
    assert candidates() == ["c1", "c2", "c2"]


def test_tasks_have_logs_of_their_own(var: Path) -> None:
    note()
    note(task="reviews")
    assert candidates() == ["c1"]
    assert log_of(var, "reviews").exists()


@pytest.mark.parametrize("cut", [1, 20, 100, 130])
def test_a_line_torn_by_a_kill_is_passed_over_and_written_anew(var: Path, cut: int) -> None:
    note("c1")
    note("c2")
    path = log_of(var)
    path.write_bytes(path.read_bytes()[:-cut])
    note("c2")
    note("c3")
    assert candidates() == ["c1", "c2", "c3"]
    assert path.read_bytes().endswith(b"}\n")


def test_a_line_torn_within_a_character_is_passed_over(var: Path) -> None:
    note("c1")
    path = log_of(var)
    path.write_bytes(path.read_bytes() + '{"why": "é'.encode()[:-1])
    note("c2")
    assert candidates() == ["c1", "c2"]


@pytest.mark.parametrize("line", ["3", "null", "[]", '{"candidate": "c"}'])
def test_a_line_that_is_no_entry_is_passed_over(var: Path, line: str) -> None:
    note("c1")
    with log_of(var).open("a") as stream:
        stream.write(line + "\n")
    assert candidates() == ["c1"]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_line_that_was_changed_is_found_and_named(var: Path, number: int) -> None:
    for candidate in ("c1", "c2", "c3"):
        note(candidate)
    lines = log_of(var).read_text().splitlines()
    lines[number] = lines[number].replace("better", "bettor")
    log_of(var).write_text("\n".join(lines) + "\n")
    with pytest.raises(RegistryError, match=rf"line {number + 1} of .*channels\.jsonl: was changed"):
        candidates()


@pytest.mark.parametrize("damage", ["taken out", "made unreadable"])
def test_a_line_that_is_missing_between_others_is_noticed(var: Path, damage: str) -> None:
    for candidate in ("c1", "c2", "c3"):
        note(candidate)
    first, second, third = log_of(var).read_text().splitlines()
    kept = [first, third] if damage == "taken out" else [first, second[:-2], third]
    log_of(var).write_text("\n".join(kept) + "\n")
    with pytest.raises(RegistryError, match="or a line before it is missing"):
        candidates()


def test_earlier_lines_are_never_touched(var: Path) -> None:
    note("c1")
    before = log_of(var).read_bytes()
    log.append("channels", "rejected", candidate="c2", why=["a line\u2028end"])
    assert log_of(var).read_bytes().startswith(before)
    assert [json.loads(line)["candidate"] for line in log_of(var).read_bytes().splitlines()] == ["c1", "c2"]
    assert len(list(log.entries("channels"))) == 2
