"""The registry on SQLite: reading by SQL equals what MLflow says, and every write may be repeated."""

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tidegate import registry
from tidegate.errors import RegistryError
from tidegate.registry import DECISION, DIGEST, Registry, State, Version

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


def as_mlflow_says(client: MlflowClient, task: str) -> State:
    found = client.search_model_versions(f"name = '{task}'")
    versions = {int(v.version): Version(number=int(v.version), tags=dict(v.tags), run_id=v.run_id) for v in found}
    aliases = client.get_registered_model(task).aliases
    return State(versions=versions, aliases={alias: int(number) for alias, number in aliases.items()})


def test_what_sql_reads_is_what_mlflow_says(
    channels: Registry, client: MlflowClient, empty_registry: str, tmp_path: Path
) -> None:
    run = run_of(channels, tmp_path)
    for digest in ("a", "b", "c"):
        channels.ensure_version(digest, source=tmp_path, run_id=run, tags={"tidegate.verdict": digest, "é": "ü"})
    client.create_model_version("channels", str(tmp_path))  # somebody else's: no run, no digest
    channels.set_alias("champion", 2)
    channels.set_alias("best", 1)
    client.delete_model_version("channels", "3")
    client.delete_model_version_tag("channels", "1", "é")
    state = registry.read(empty_registry, "channels")
    assert state == as_mlflow_says(client, "channels")
    assert sorted(state.versions) == [1, 2, 4]
    assert state.aliases == {"champion": 2, "best": 1}
    champion = state.alias("champion")
    assert champion
    assert (champion.digest, champion.run_id) == ("b", run)
    assert state.versions[4].digest is None
    assert state.alias("challenger") is None


def test_an_alias_of_a_deleted_version_is_no_alias(
    channels: Registry, client: MlflowClient, empty_registry: str, tmp_path: Path
) -> None:
    number = channels.ensure_version("a", source=tmp_path, run_id=run_of(channels, tmp_path), tags={})
    channels.set_alias("champion", number)
    client.delete_model_version("channels", "1")
    state = registry.read(empty_registry, "channels")
    assert (state.versions, state.alias("champion")) == ({}, None)


def test_through_mlflow_one_reads_the_same(channels: Registry, empty_registry: str, tmp_path: Path) -> None:
    number = channels.ensure_version("a", source=tmp_path, run_id=run_of(channels, tmp_path), tags={"x": "y"})
    channels.set_alias("champion", number)
    for task in ("channels", "reviews"):
        assert registry._read_from_server(empty_registry, task) == registry.read(empty_registry, task)


def test_two_tasks_do_not_see_each_other(channels: Registry, empty_registry: str, tmp_path: Path) -> None:
    reviews = Registry(empty_registry, "reviews")
    for writer in (channels, reviews):
        run = run_of(writer, tmp_path, name=writer.task)
        writer.set_alias(
            "champion", writer.ensure_version("same", source=tmp_path, run_id=run, tags={"of": writer.task})
        )
    channels.ensure_version("other", source=tmp_path, run_id=run, tags={})
    assert len(registry.read(empty_registry, "channels").versions) == 2
    assert len(registry.read(empty_registry, "reviews").versions) == 1
    for task in ("channels", "reviews"):
        assert registry.read(empty_registry, task).versions[1].tags["of"] == task
    reviews.drop_alias("champion")
    assert registry.read(empty_registry, "channels").alias("champion")
    assert registry.read(empty_registry, "reviews").alias("champion") is None


def test_a_database_that_is_not_there_is_empty_and_is_not_made(tmp_path: Path) -> None:
    assert registry.read(f"sqlite:///{tmp_path / 'no.db'}", "channels") == State()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("other_table", [False, True])
def test_a_database_without_tables_is_empty(tmp_path: Path, *, other_table: bool) -> None:
    path = tmp_path / "a.db"
    path.touch()
    if other_table:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE model_versions (name TEXT)")
    assert registry.read(f"sqlite:///{path}", "channels") == State()


def test_a_file_that_is_no_database_is_an_error_without_the_password(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("this is no database " * 100)
    with pytest.raises(RegistryError, match="does not answer") as caught:
        registry.read(f"sqlite:///{tmp_path / 'a.db'}", "channels")
    assert "Restore it from a backup" in caught.value.remedy
    shown = str(registry._unreachable("postgresql://ada:secret@host/mlflow", ValueError("no")))
    assert "host/mlflow" in shown
    assert "secret" not in shown


@pytest.mark.parametrize(
    "uri", ["nonsense://host/db", "postgresql+nonsense://host/db", "postgresql://127.0.0.1:9/db", "://"]
)
def test_an_address_that_means_nothing_is_an_error(uri: str) -> None:
    with pytest.raises(RegistryError, match="does not answer"):
        registry.read(uri, "channels")


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
    first = channels.ensure_version("a", source=tmp_path, run_id=run, tags={"x": "1", "z": "same"})
    assert channels.ensure_version("a", source=tmp_path, run_id=run, tags={"x": "2", "y": "3", "z": "same"}) == first
    assert channels.ensure_version("b", source=tmp_path, run_id=run, tags={}) == first + 1
    state = registry.read(empty_registry, "channels")
    assert state.versions[first].tags == {DIGEST: "a", "x": "2", "y": "3", "z": "same"}
    found = state.of_digest("a")
    assert found
    assert found.number == first


def test_an_alias_may_be_set_and_dropped_again_and_again(
    channels: Registry, empty_registry: str, tmp_path: Path
) -> None:
    run = run_of(channels, tmp_path)
    numbers = [channels.ensure_version(digest, source=tmp_path, run_id=run, tags={}) for digest in "ab"]
    for number in (numbers[0], numbers[0], numbers[1]):
        channels.set_alias("champion", number)
    assert registry.read(empty_registry, "channels").aliases == {"champion": numbers[1]}
    channels.drop_alias("champion")
    channels.drop_alias("champion")
    assert registry.read(empty_registry, "channels").aliases == {}


def test_the_first_version_of_a_digest_counts() -> None:
    versions = {n: Version(number=n, tags={DIGEST: "a"}, run_id=None) for n in (3, 2)}
    found = State(versions=versions).of_digest("a")
    assert found
    assert found.number == 2


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


def test_reading_loads_no_mlflow(channels: Registry, empty_registry: str, tmp_path: Path) -> None:
    code = f"import sys; from tidegate import registry; registry.read({empty_registry!r}, 'channels');"
    code += "sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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
