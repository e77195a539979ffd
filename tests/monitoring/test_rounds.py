"""A round looks at each complete window once, and says which alarms wait for a retraining."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from monitoring import gauge, ledger, messages, reference, rounds, watch
from monitoring.gauge import Gauge
from tidegate import monitor_settings
from tidegate.errors import RegistryError
from tidegate.monitor_settings import Settings
from tidegate.release import dossier, reconciling
from tidegate.release.standing import Standing
from tidegate.serving.prediction_log import Feedback, PredictionLog
from tidegate.serving.tables import predictions

ROOT = Path(__file__).resolve().parents[2]


class Service:
    """What the service of a champion would have logged."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self.log = PredictionLog("channels", None)
        self.rows = 0

    def answered(self, frame: pl.DataFrame, model: str = "m1") -> None:
        kept = frame.select([c.name for c in predictions.c if c.name in frame.columns])
        rows = [
            {
                **row,
                "id": f"{self.rows + i}",
                "model": model,
                "audit": 0,
                "probabilities": json.dumps(row["probabilities"]),
            }
            for i, row in enumerate(kept.to_dicts())
        ]
        with self.log.transaction() as connection:
            connection.execute(predictions.insert(), rows)
        self.rows += len(rows)

    def labelled(self, count: int) -> None:
        given = [Feedback(prediction_id=str(i), label="positive", by="ada", kind="volunteered") for i in range(count)]
        assert all(self.log.record_feedback(given))


@pytest.fixture
def service(ready: Gauge, settings: Settings, var: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    standing = Standing(champion="m1", decisions={"m1": "d1"})
    monkeypatch.setattr(reconciling, "standing_of", lambda *_: standing)
    monkeypatch.setattr(reference, "of_champion", lambda *_: ready.reference)
    monkeypatch.setattr(gauge, "ready", lambda *_: ready)
    monkeypatch.setattr(monitor_settings, "read", lambda _: settings)
    monkeypatch.setattr(watch, "_seen_by_evidently", lambda *_: {})
    monkeypatch.setattr(messages, "send", lambda *_, **__: [])
    made = Service(standing)
    yield made
    made.log.close()


def test_each_complete_window_is_looked_at_once(service: Any, make_rows: Callable[..., pl.DataFrame]) -> None:
    service.answered(make_rows(450, seed=2))
    seen = rounds.run(ROOT, now=2e9)
    assert [(look.verdict["first"], look.verdict["last"]) for look in seen.looks] == [(1, 200), (201, 400)]
    assert rounds.run(ROOT, now=2e9).looks == ()
    service.answered(make_rows(150, seed=3))
    assert [look.verdict["last"] for look in rounds.run(ROOT, now=2e9).looks] == [600]


def test_drift_ends_in_an_alarm_that_waits_for_a_retraining(
    service: Any, make_rows: Callable[..., pl.DataFrame], capsys: pytest.CaptureFixture[str]
) -> None:
    service.answered(make_rows(400, seed=2, subjects=["wares"], shares=(0.1, 0.8, 0.1)))
    service.labelled(250)
    seen = rounds.run(ROOT)
    (entry,) = (look.entry for look in seen.looks if look.entry)
    assert (entry["decision"], entry["new_labels"]) == ("retrain", 250)
    assert seen.waiting == (entry["id"],)
    assert f"alarm {entry['id']}, retraining" in capsys.readouterr().out
    assert ledger.start("channels", entry["id"], by="somebody", how=monitor_settings.read(ROOT).retrain)
    assert rounds.run(ROOT).waiting == ()


def test_labels_that_the_champion_learnt_from_are_not_new(
    service: Any, make_rows: Callable[..., pl.DataFrame], var: Path
) -> None:
    service.answered(make_rows(10, seed=2))
    service.labelled(10)
    assert rounds.new_labels(service.log, service.standing) == 10
    (var / "feedback").mkdir()
    make_rows(7, seed=2).write_parquet(var / "feedback" / "f1.parquet")
    folder = dossier.folder_of("d1")
    folder.mkdir(parents=True)
    (folder / "inputs.yaml").write_text(yaml.safe_dump({"feedback": "f1"}))
    assert rounds.new_labels(service.log, service.standing) == 3


def test_without_a_champion_there_is_nothing_to_watch(service: Any) -> None:
    service.standing.champion = None
    with pytest.raises(RegistryError, match="has no champion"):
        rounds.run(ROOT)
