"""The challenger answers beside the service: logged, never returned, and dropped rather than in the way."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tidegate.serving.answering import Model
from tidegate.serving.app import create_app
from tidegate.serving.guards import Keys
from tidegate.serving.prediction_log import PredictionLog
from tidegate.serving.shadowing import Shadow

LONG = 30.0


class World:
    def __init__(self, model: Model) -> None:
        self.model: Model | None = model
        self.busy = False
        self.rows: list[dict[str, Any]] = []
        self.counts: dict[str, int] = {}
        self.counted = threading.Semaphore(0)

    def count(self, outcome: str, texts: int) -> None:
        self.counts[outcome] = self.counts.get(outcome, 0) + texts
        self.counted.release()


@pytest.fixture
def world(model: Model) -> World:
    return World(model)


@pytest.fixture
def shadow(world: World) -> Iterator[Shadow]:
    made = Shadow(lambda: world.model, busy=lambda: world.busy, log=world.rows.extend, counted=world.count)
    yield made
    made.close()


def test_its_answers_are_logged_under_the_ids_of_the_predictions(shadow: Shadow, world: World, model: Model) -> None:
    shadow.offer(["a", "b"], ["good", "bad"])
    assert world.counted.acquire(timeout=LONG)
    assert [(row["prediction_id"], row["model"], row["label"]) for row in world.rows] == [
        ("a", model.digest, "positive"), ("b", model.digest, "negative")
    ]  # fmt: skip
    assert world.counts == {"answered": 2}


def test_under_load_it_drops_and_counts(shadow: Shadow, world: World) -> None:
    world.busy = True
    shadow.offer(["a", "b"], ["good", "bad"])
    assert world.counted.acquire(timeout=LONG)
    assert (world.rows, world.counts) == ([], {"dropped": 2})


def test_a_full_queue_drops_at_once(world: World) -> None:
    inside, free = threading.Event(), threading.Event()

    def hold(_: Any) -> None:
        inside.set()
        assert free.wait(LONG)

    one = Shadow(lambda: world.model, busy=lambda: False, log=hold, counted=world.count)
    one.offer(["a"], ["good"])
    assert inside.wait(LONG)
    for _ in range(100):
        one.offer(["a"], ["good"])
    assert world.counts["dropped"] == 36
    free.set()
    one.close()


def test_a_broken_challenger_fails_no_answer(shadow: Shadow, world: World) -> None:
    shadow.offer(["a"], [None])  # type: ignore[list-item]
    assert world.counted.acquire(timeout=LONG)
    assert world.counts == {"failed": 1}
    shadow.offer(["b"], ["good"])
    assert world.counted.acquire(timeout=LONG)
    assert world.counts == {"failed": 1, "answered": 1}


def test_in_service_its_answers_go_to_a_table_of_their_own(
    service: Callable[..., Any], package_folder: Any, tmp_path: Any, prediction_log: PredictionLog, model: Model
) -> None:
    from tidegate.package import Package

    made = service(shadow=True)
    client = TestClient(create_app(made, Keys(None)))
    client.post("/predict", json={"text": "good"})  # no challenger yet
    challenger = Model(Package.load(package_folder(tmp_path / "other", seed=5), threads=1), None)
    made.served.challenger = challenger
    given = client.post("/predict", json={"text": "good"}).json()["predictions"][0]
    assert given["model"] == model.digest
    while made.metrics.registry.get_sample_value("tidegate_shadow_total", {"outcome": "answered"}) is None:
        pass
    with prediction_log.transaction() as connection:
        rows = connection.exec_driver_sql("SELECT prediction_id, model FROM shadow").all()
    assert [tuple(row) for row in rows] == [(given["id"], challenger.digest)]
