"""The registry on SQLite and as a server: every write may be repeated, and one writes at a time."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tidegate import registry
from tidegate.errors import RegistryError
from tidegate.registry import Registry
from tidegate.registry_state import DECISION, DIGEST

RUN: dict[str, Any] = {
    "name": "pass c1",
    "params": {"train.epochs": 2, "text": "x" * 7000},
    "metrics": {"accuracy.value": 0.75},
    "tags": {"tidegate.verdict": "pass"},
    "curves": {"validation_loss": [(10, 0.9), (20, 0.7)]},
}


@pytest.fixture
def client(empty_registry: str) -> MlflowClient:
    return MlflowClient(empty_registry, empty_registry)


@pytest.fixture
def channels(empty_registry: str) -> Registry:
    return Registry(empty_registry, "channels")


def run_of(writer: Registry, tmp_path: Path, decision: str = "d1", **changes: Any) -> str:
    file = tmp_path / "decision.json"
    file.write_text("{}")
    return writer.ensure_run(decision, **{**RUN, "files": [file], **changes})


def test_through_mlflow_one_reads_the_same(channels: Registry, empty_registry: str, tmp_path: Path) -> None:
    number = channels.ensure_version(
        "a", source=tmp_path, run_id=run_of(channels, tmp_path), tags={"x": "y"}, description="d"
    )
    channels.set_alias("champion", number)
    for task in ("channels", "reviews"):
        assert registry._read_from_server(empty_registry, task) == registry.read(empty_registry, task)


@pytest.mark.parametrize(
    ("uri", "cause"),
    [
        ("", "has no scheme"),
        ("  ", "has no scheme"),
        ("mlflow.db", "has no scheme"),
        ("postgresql://ada:secret@host:port/db", "does not answer"),
        ("http://ada:secret@host:port", "does not answer"),
        ("http://[::1", "does not answer"),
        ("sqlite://", "is in memory"),
        ("sqlite:///:memory:", "is in memory"),
        ("sqlite:///nope/dir/x.db", "the folder nope/dir is missing"),
    ],
)
def test_an_address_that_cannot_be_is_refused_by_name(
    uri: str, cause: str, tmp_path: Path, var: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for use in (registry.read, Registry):
        with pytest.raises(RegistryError) as caught:
            use(uri, "channels")
        assert cause in caught.value.cause or "is a server" in caught.value.cause
        assert "secret" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["var"]


def test_a_server_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_RETRIES", "TIMEOUT"):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", "")  # so that both are as before in the end
        monkeypatch.delenv(f"MLFLOW_HTTP_REQUEST_{name}")
    with pytest.raises(RegistryError, match="does not answer"):
        registry.read("http://127.0.0.1:9", "channels")
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "10"


def test_a_run_is_made_once_and_holds_everything(channels: Registry, client: MlflowClient, tmp_path: Path) -> None:
    run = run_of(channels, tmp_path)
    assert run_of(channels, tmp_path) == run
    found = client.get_run(run)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "pass c1"
    assert found.data.tags["tidegate.verdict"] == "pass"
    assert found.data.tags[DECISION] == "d1"
    assert found.data.params == {"train.epochs": "2", "text": "x" * 6000}
    assert found.data.metrics == {"accuracy.value": 0.75, "validation_loss": 0.7}
    assert [(m.step, m.value) for m in client.get_metric_history(run, "validation_loss")] == [(10, 0.9), (20, 0.7)]
    assert [file.path for file in client.list_artifacts(run)] == ["decision.json"]


def test_an_experiment_that_somebody_deleted_comes_back(
    channels: Registry, client: MlflowClient, tmp_path: Path
) -> None:
    run = run_of(channels, tmp_path)
    client.delete_experiment(client.get_run(run).info.experiment_id)
    again = run_of(channels, tmp_path)
    assert client.get_run(again).info.lifecycle_stage == "active"
    assert client.get_experiment_by_name("channels").lifecycle_stage == "active"


def test_more_figures_and_params_than_mlflow_takes_at_once_are_all_kept(
    channels: Registry, client: MlflowClient, tmp_path: Path
) -> None:
    many = {f"m{i}": float(i) for i in range(1500)}
    params = {f"p{i}": i for i in range(250)}
    curves = {"loss": [(i, 1.0) for i in range(1200)]}
    found = client.get_run(run_of(channels, tmp_path, metrics=many, params=params, curves=curves))
    assert len(found.data.params) == 250
    assert len(found.data.metrics) == 1501


@pytest.mark.parametrize("killed_at", ["log_batch", "log_artifact", "set_terminated"])
def test_a_run_left_half_made_by_a_kill_is_made_whole(
    channels: Registry, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    def kill(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(channels._client, killed_at, kill)
        with pytest.raises(KeyboardInterrupt):
            run_of(channels, tmp_path)
    run = run_of(channels, tmp_path)
    experiment = client.get_experiment_by_name("channels")
    assert experiment
    (only,) = client.search_runs([experiment.experiment_id])
    assert (only.info.run_id, only.info.status) == (run, "FINISHED")
    assert [file.path for file in client.list_artifacts(run)] == ["decision.json"]


def test_another_decision_has_another_run(channels: Registry, tmp_path: Path) -> None:
    assert run_of(channels, tmp_path, "d1") != run_of(channels, tmp_path, "d2")


def test_a_package_is_registered_once_and_its_tags_follow(
    channels: Registry, empty_registry: str, tmp_path: Path
) -> None:
    run = run_of(channels, tmp_path)
    first = channels.ensure_version("a", source=tmp_path, run_id=run, tags={"x": "1", "z": "same"}, description="d")
    assert (
        channels.ensure_version(
            "a", source=tmp_path, run_id=run, tags={"x": "2", "y": "3", "z": "same"}, description="d"
        )
        == first
    )
    assert channels.ensure_version("b", source=tmp_path, run_id=run, tags={}, description="d") == first + 1
    state = registry.read(empty_registry, "channels")
    assert state.versions[first].tags == {DIGEST: "a", "x": "2", "y": "3", "z": "same"}
    found = state.of_digest("a")
    assert found
    assert found.number == first


def test_an_alias_may_be_set_and_dropped_again_and_again(
    channels: Registry, empty_registry: str, tmp_path: Path
) -> None:
    run = run_of(channels, tmp_path)
    numbers = [
        channels.ensure_version(digest, source=tmp_path, run_id=run, tags={}, description="d") for digest in "ab"
    ]
    for number in (numbers[0], numbers[0], numbers[1]):
        channels.set_alias("champion", number)
    assert registry.read(empty_registry, "channels").aliases == {"champion": numbers[1]}
    channels.drop_alias("champion")
    channels.drop_alias("champion")
    assert registry.read(empty_registry, "channels").aliases == {}


def test_a_server_is_refused_where_something_is_to_be_written() -> None:
    with pytest.raises(RegistryError, match=r"is a server.*Name its database"):
        Registry("http://somebody:secret@127.0.0.1:1", "channels")


@pytest.fixture
def live_uri(empty_registry: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TIDEGATE_LIVE_URI", empty_registry)
    return empty_registry


def test_live_curves_are_logged_as_they_come(var: Path, client: MlflowClient, live_uri: str) -> None:
    log = registry.live("channels", "train")
    for step in (1, 2):
        log({"train_loss": 1 / step}, step)
    experiment = client.get_experiment_by_name("channels")
    assert experiment
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("train", "RUNNING")
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "train_loss")] == [(1, 1.0), (2, 0.5)]


def test_a_run_of_a_decision_is_not_taken_for_live_curves(
    channels: Registry, client: MlflowClient, live_uri: str, tmp_path: Path
) -> None:
    registry.live("channels", "train")({"loss": 1.0}, 1)
    run_of(channels, tmp_path)
    experiment = client.get_experiment_by_name("channels")
    assert experiment
    assert len(client.search_runs([experiment.experiment_id])) == 2


def test_one_writer_at_a_time_and_the_same_one_twice(var: Path) -> None:
    entered = threading.Event()

    def enter() -> None:
        with registry.locked():
            entered.set()

    with registry.locked(), registry.locked():
        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.2)
    assert entered.wait(10)
    thread.join()


@pytest.mark.slow
def test_two_processes_that_make_the_tables_at_once_do_not_collide(var: Path) -> None:
    code = "from tidegate import registry; registry.Registry(registry.default_uri(), 'channels')"
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(timeout=200) for process in both] == [0, 0]


def test_a_kill_while_the_tables_are_made_leaves_no_database(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    path = var / "mlflow.db"
    with monkeypatch.context() as broken:
        broken.setattr("mlflow.MlflowClient.search_experiments", killed)
        with pytest.raises(KeyboardInterrupt):
            Registry(f"sqlite:///{path}", "channels")
    assert not path.exists()
    Registry(f"sqlite:///{path}", "channels")
    assert path.exists()
