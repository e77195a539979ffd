"""A look writes a window once, raises alarms by the policy, tells of them, and is the same when it is repeated."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from monitoring import ledger, messages, report, watch
from monitoring.gauge import Gauge
from monitoring.windows import Window
from tidegate.files import read_json
from tidegate.monitor_settings import Settings

Windows = Callable[..., Window]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, var: Path) -> None:
    """Without Evidently, whose import takes ten seconds; with a message that always arrives."""
    monkeypatch.setattr(watch, "_seen_by_evidently", lambda *_: {})
    monkeypatch.setenv("TIDEGATE_MESSAGES", "json://somewhere")
    monkeypatch.setattr(messages, "send", lambda to, **_: [messages.Sent(address, sent=True, why="") for address in to])


def looked(ready: Gauge, window: Window, settings: Settings, *, new_labels: int = 500, audited: Any = None) -> Any:
    return watch.look("channels", ready, window, settings, audited=audited, new_labels=new_labels)


def files(var: Path) -> dict[str, bytes]:
    return {p.relative_to(var).as_posix(): p.read_bytes() for p in sorted(var.rglob("*")) if p.is_file()}


def test_a_verdict_is_kept_with_its_window(ready: Gauge, make_window: Windows, settings: Settings, var: Path) -> None:
    found = looked(ready, make_window(3), settings)
    [path] = (var / "monitoring" / "channels" / "windows").iterdir()
    assert path.name == "000000000401-000000000600-m1.json"
    assert read_json(path) == found.verdict
    assert (found.verdict["first"], found.verdict["last"], found.verdict["rows"]) == (401, 600, 200)
    assert found.entry is None


def test_the_same_window_again_changes_nothing(
    ready: Gauge, make_window: Windows, settings: Settings, var: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        looked(ready, make_window(number, subjects=["films"]), settings)
    before = files(var)
    monkeypatch.setattr(watch, "score", lambda *_, **__: pytest.fail("scored again"))
    again = looked(ready, make_window(2, subjects=["films"]), settings, new_labels=0)
    assert again.entry["decision"] == "retrain"
    assert files(var) == before


def test_findings_become_an_alarm_at_the_second_window(ready: Gauge, make_window: Windows, settings: Settings) -> None:
    drifted = [make_window(n, subjects=["films"], shares=(0.1, 0.8, 0.1)) for n in (2, 3)]
    first, second, third = (looked(ready, one, settings) for one in (make_window(1), *drifted))
    assert (first.entry, second.entry) == (None, None)
    assert second.verdict["finding"]
    assert third.entry["decision"] == "retrain"
    assert {"embedding", "prediction"} <= set(third.entry["signal"])
    assert third.entry["window"] == {"first": 401, "last": 600}


def test_windows_of_another_model_are_no_history(ready: Gauge, make_window: Windows, settings: Settings) -> None:
    looked(ready, make_window(1, subjects=["films"], model="m0"), settings)
    assert looked(ready, make_window(2, subjects=["films"]), settings).entry is None
    assert watch.last_place("channels", "m1") == 400
    assert watch.last_place("channels", "m9") == 0


def test_an_alarm_is_in_the_ledger_before_anything_is_sent(
    ready: Gauge, make_window: Windows, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        assert [entry["event"] for entry in ledger.entries("channels")] == ["alarm"]
        raise KeyboardInterrupt

    looked(ready, make_window(1, subjects=["films"]), settings)
    monkeypatch.setattr(messages, "send", killed)
    with pytest.raises(KeyboardInterrupt):
        looked(ready, make_window(2, subjects=["films"]), settings)


def test_a_message_that_failed_is_noted_and_sent_again_at_the_next_look(
    ready: Gauge, make_window: Windows, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(to: list[str], **_: Any) -> list[messages.Sent]:
        return [messages.Sent(address, sent=False, why="no answer") for address in to]

    arrives = messages.send
    monkeypatch.setattr(messages, "send", fails)
    for number in (1, 2):
        looked(ready, make_window(number, subjects=["films"]), settings)
    monkeypatch.setattr(messages, "send", arrives)
    for _ in range(2):
        looked(ready, make_window(2, subjects=["films"]), settings)
    told = [(entry["sent"], entry["why"]) for entry in ledger.entries("channels") if entry["event"] == "message"]
    assert told == [(False, "no answer"), (True, "")]


def test_accuracy_on_the_audit_sample_is_an_alarm_of_its_own(
    ready: Gauge, make_window: Windows, make_rows: Callable[..., pl.DataFrame], settings: Settings
) -> None:
    found = looked(ready, make_window(1), settings, audited=make_rows(600, seed=8, right=0.4))
    assert found.entry["signal"] == ["accuracy"]
    assert found.verdict["accuracy"]["finding"]


def test_without_addresses_nothing_is_sent_and_the_alarm_stands(
    ready: Gauge, make_window: Windows, settings: Settings
) -> None:
    silent = replace(settings, messages="NOBODY_SET_THIS")
    for number in (1, 2):
        looked(ready, make_window(number, subjects=["films"]), silent)
    assert [entry["event"] for entry in ledger.entries("channels")] == ["alarm"]


def test_where_evidently_fails_the_verdict_stands(
    ready: Gauge, make_window: Windows, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(report, "compared", lambda *_, **__: 1 / 0)
    seen = watch._seen_by_evidently("channels", ready, make_window(1), "w", settings)
    assert seen == {"error": "ZeroDivisionError: division by zero"}
