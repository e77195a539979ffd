"""The state of the registry read by SQL: it equals what MLflow says, and an address that cannot be is named."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tidegate import registry_state
from tidegate.errors import RegistryError
from tidegate.registry import Registry
from tidegate.registry_state import DIGEST, State, Version


@pytest.fixture
def client(empty_registry: str) -> MlflowClient:
    return MlflowClient(empty_registry, empty_registry)


@pytest.fixture
def channels(empty_registry: str) -> Registry:
    return Registry(empty_registry, "channels")


def run_of(writer: Registry, tmp_path: Path, name: str = "pass c1") -> str:
    file = tmp_path / "decision.json"
    file.write_text("{}")
    return writer.ensure_run("d1", name=name, params={}, metrics={}, tags={}, files=[file], curves={})


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
        channels.ensure_version(
            digest, source=tmp_path, run_id=run, tags={"tidegate.verdict": digest, "é": "ü"}, description="d"
        )
    client.create_model_version("channels", str(tmp_path))  # somebody else's: no run, no digest
    channels.set_alias("champion", 2)
    channels.set_alias("best", 1)
    client.delete_model_version("channels", "3")
    client.delete_model_version_tag("channels", "1", "é")
    state = registry_state.read(empty_registry, "channels")
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
    number = channels.ensure_version("a", source=tmp_path, run_id=run_of(channels, tmp_path), tags={}, description="d")
    channels.set_alias("champion", number)
    client.delete_model_version("channels", "1")
    state = registry_state.read(empty_registry, "channels")
    assert (state.versions, state.alias("champion")) == ({}, None)


def test_two_tasks_do_not_see_each_other(channels: Registry, empty_registry: str, tmp_path: Path) -> None:
    reviews = Registry(empty_registry, "reviews")
    for writer in (channels, reviews):
        run = run_of(writer, tmp_path, name=writer.task)
        writer.set_alias(
            "champion",
            writer.ensure_version("same", source=tmp_path, run_id=run, tags={"of": writer.task}, description="d"),
        )
    channels.ensure_version("other", source=tmp_path, run_id=run, tags={}, description="d")
    assert len(registry_state.read(empty_registry, "channels").versions) == 2
    assert len(registry_state.read(empty_registry, "reviews").versions) == 1
    for task in ("channels", "reviews"):
        assert registry_state.read(empty_registry, task).versions[1].tags["of"] == task
    reviews.drop_alias("champion")
    assert registry_state.read(empty_registry, "channels").alias("champion")
    assert registry_state.read(empty_registry, "reviews").alias("champion") is None


def test_a_database_that_is_not_there_is_empty_and_is_not_made(tmp_path: Path) -> None:
    assert registry_state.read(f"sqlite:///{tmp_path / 'no.db'}", "channels") == State()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("other_table", [False, True])
def test_a_database_without_tables_is_empty(tmp_path: Path, *, other_table: bool) -> None:
    path = tmp_path / "a.db"
    path.touch()
    if other_table:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE model_versions (name TEXT)")
    assert registry_state.read(f"sqlite:///{path}", "channels") == State()


def test_a_file_that_is_no_database_is_an_error_without_the_password(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("this is no database " * 100)
    with pytest.raises(RegistryError, match="does not answer") as caught:
        registry_state.read(f"sqlite:///{tmp_path / 'a.db'}", "channels")
    assert "Restore it from a backup" in caught.value.remedy
    shown = str(registry_state.unreachable("postgresql://ada:secret@host/mlflow", ValueError("no")))
    assert "host/mlflow" in shown
    assert "secret" not in shown


@pytest.mark.parametrize(
    "uri", ["nonsense://host/db", "postgresql+nonsense://host/db", "postgresql://127.0.0.1:9/db", "://"]
)
def test_an_address_that_means_nothing_is_an_error(uri: str) -> None:
    with pytest.raises(RegistryError, match="does not answer"):
        registry_state.read(uri, "channels")


def test_the_first_version_of_a_digest_counts() -> None:
    versions = {n: Version(number=n, tags={DIGEST: "a"}, run_id=None) for n in (3, 2)}
    found = State(versions=versions).of_digest("a")
    assert found
    assert found.number == 2


def test_reading_loads_no_mlflow(channels: Registry, empty_registry: str, tmp_path: Path) -> None:
    code = f"import sys; from tidegate import registry_state; registry_state.read({empty_registry!r}, 'channels');"
    code += "sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
