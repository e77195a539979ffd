"""What is found is handed on: to the trigger of an event where there is a server, else to a call, and once."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from monitoring import ledger
from tidegate.errors import RegistryError
from tidegate.monitor_settings import Retrain
from tidegate.release import retraining
from tidegate.release.retraining import Outcome

ROOT = Path(__file__).resolve().parents[2]
HOW = Retrain(mode="recover", minimum_new_labels=0, cooldown_hours=0, longest_hours=12)
ALARM = {"signals": {"text": {"value": 0.9}}, "why": "two windows drifted"}


@pytest.fixture
def entry(var: Path) -> Any:
    return ledger.record("channels", ALARM, model="m1", window={"first": 1, "last": 500}, new_labels=9, how=HOW)


def closed() -> list[tuple[str, str]]:
    return [(e["id"], e["outcome"]) for e in ledger.entries("channels") if e["event"] == "closed"]


@pytest.mark.parametrize(
    ("ended", "promoted", "outcome"),
    [(True, True, "promoted"), (True, False, "not_promoted"), (False, False, "failed")],
)
def test_a_retraining_closes_its_alarm_with_what_became_of_it(
    entry: Any, monkeypatch: pytest.MonkeyPatch, outcome: str, *, ended: bool, promoted: bool
) -> None:
    from flows import retrain

    asked: list[Any] = []

    def done(root: Path, name: str, *, overlay: Any) -> Outcome:
        asked.append((name, overlay))
        return Outcome(branch="b", ended=ended, verdict="pass", candidate="c" * 64, promoted=promoted)

    monkeypatch.setattr(retraining, "retrain", done)
    state = retrain.retrain.fn(reason="drift", alarm=entry["id"], root=str(ROOT))
    assert asked == [(entry["id"], {"gate": {"mode": "recover"}})]
    assert closed() == [(entry["id"], outcome)]
    assert state.is_completed() == ended
    again = retrain.retrain.fn(reason="drift", alarm=entry["id"], root=str(ROOT))
    assert again.is_completed()
    assert len(asked) == 1


def test_a_retraining_that_cannot_run_closes_its_alarm_too(entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import retrain

    def refuse(*_: Any, **__: Any) -> Outcome:
        raise RegistryError("the champion", "has no tree", "Run `make repro`")

    monkeypatch.setattr(retraining, "retrain", refuse)
    state = retrain.retrain.fn(alarm=entry["id"], root=str(ROOT))
    assert state.is_failed()
    assert "has no tree" in state.message
    assert closed() == [(entry["id"], "failed")]


@pytest.mark.parametrize(
    ("server", "fresh", "age", "how"),
    [
        (None, True, 0, "call"),
        ("http://127.0.0.1:1/api", True, 0, "event"),
        ("http://127.0.0.1:1/api", False, 60, "event"),
        ("http://127.0.0.1:1/api", False, 3600, "run"),
    ],
)
def test_an_alarm_is_handed_on(
    entry: Any, monkeypatch: pytest.MonkeyPatch, server: str | None, age: float, how: str, *, fresh: bool
) -> None:
    from flows import monitor

    given: list[tuple[str, Any]] = []
    monkeypatch.setattr(monitor, "PREFECT_API_URL", SimpleNamespace(value=lambda: server))
    monkeypatch.setattr(monitor, "retrain", lambda **what: given.append(("call", what["alarm"])))
    monkeypatch.setattr(monitor, "emit_event", lambda name, **what: given.append(("event", what["payload"]["alarm"])))
    asked_for = "prefect.deployments.run_deployment"
    monkeypatch.setattr(asked_for, lambda name, **what: given.append(("run", what["parameters"]["alarm"])))
    monitor.hand_on(ROOT, "channels", {**entry, "time": entry["time"] - age}, fresh=fresh)
    assert given == [(how, entry["id"])]
