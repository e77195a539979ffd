"""The MLflow registry: runs, versions and aliases are written here, and a server is asked.

The only importer of mlflow, and only where it is needed: a database is read by SQL, in `registry_state`.
What is promoted, and when, is decided elsewhere.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate import registry_state
from tidegate.errors import BusyError, RegistryError
from tidegate.files import replacing, var_folder
from tidegate.registry_state import (
    DECISION,
    DIGEST,
    State,
    Version,
    checked,
    is_server,
    unreachable,
    without_password,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient


def default_uri() -> str:
    """SQLite in `var/`."""
    return f"sqlite:///{var_folder() / 'mlflow.db'}"


def read(uri: str, task: str) -> State:
    """The state of a task: by SQL from a database, through MLflow from a server.

    Raises:
        RegistryError: the address is none, or the registry does not answer.
    """
    return _read_from_server(uri, task) if is_server(uri) else registry_state.read(uri, task)


def _read_from_server(uri: str, task: str) -> State:
    for name, most in (("MAX_RETRIES", "1"), ("TIMEOUT", "10")):  # MLflow itself goes on for many minutes
        os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{name}", most)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient(uri, uri)
        found = {
            int(v.version): Version(number=int(v.version), tags=dict(v.tags), run_id=v.run_id)
            for v in client.search_model_versions(f"name = '{task}'")
        }
        aliases = dict(client.get_registered_model(task).aliases) if found else {}
    except (MlflowException, ValueError, OSError) as error:  # of an address; of the network
        raise unreachable(uri, error) from error
    return State(versions=found, aliases={alias: int(number) for alias, number in aliases.items()})


class Registry:
    """Writes to the registry of one task. Every method may be called again and changes nothing then.

    Raises:
        RegistryError: the registry is a server, which takes no package from outside its own artifacts.
    """

    def __init__(self, uri: str, task: str) -> None:
        if is_server(uri):
            remedy = "Name its database in promote.tracking_uri, such as sqlite:///… or postgresql://…"
            raise RegistryError(f"the registry at {without_password(uri)}", "is a server; it can be read only", remedy)
        self.uri = uri
        self.task = task
        self._client = _initialized(uri)

    def ensure_run(
        self,
        decision: str,
        *,
        name: str,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: list[Path],
        curves: Mapping[str, list[tuple[int, float]]],
    ) -> str:
        """The id of the finished run of a decision; an unfinished one, left by a kill, is made whole.

        `curves` gives by metric its steps and values. Names are as MLflow takes them.
        """
        from mlflow.entities import Metric, Param, RunTag

        experiment = self._experiment()
        query = f"tags.`{DECISION}` = '{decision}' AND status = 'FINISHED'"
        if found := self._client.search_runs([experiment], query, max_results=1):
            return str(found[0].info.run_id)
        for half in self._client.search_runs([experiment], f"tags.`{DECISION}` = '{decision}'"):
            self._client.delete_run(half.info.run_id)
        run = self._client.create_run(experiment, run_name=name, tags={DECISION: decision, **tags}).info.run_id
        self._client.log_batch(
            run,
            metrics=[Metric(key, value, 0, 0) for key, value in metrics.items()]
            + [Metric(key, value, 0, step) for key, points in curves.items() for step, value in points],
            params=[Param(key, str(value)[:6000]) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        for file in files:
            self._client.log_artifact(run, str(file))
        self._client.set_terminated(run, "FINISHED")
        return str(run)

    def ensure_version(
        self, digest: str, *, source: Path, run_id: str, tags: Mapping[str, str], description: str
    ) -> int:
        """The number of the version of a package; registers it where it is missing, and sets the tags.

        Args:
            description: Markdown, of which the first 5,000 characters are kept; of a new version alone.
        """
        from mlflow.exceptions import MlflowException

        version = read(self.uri, self.task).of_digest(digest)
        if version is None:
            try:
                self._client.create_registered_model(self.task)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            made = self._client.create_model_version(
                self.task, str(source), run_id, tags={DIGEST: digest, **tags}, description=description[:5000]
            )
            return int(made.version)
        for key, value in tags.items():
            if version.tags.get(key) != value:
                self._client.set_model_version_tag(self.task, str(version.number), key, value)
        return version.number

    def set_alias(self, alias: str, number: int) -> None:
        """Points an alias at a version."""
        self._client.set_registered_model_alias(self.task, alias, str(number))

    def drop_alias(self, alias: str) -> None:
        """Removes an alias."""
        self._client.delete_registered_model_alias(self.task, alias)

    def _experiment(self) -> str:
        return _experiment(self._client, self.task)


def live(task: str, run_name: str) -> Callable[[dict[str, float], int], None]:
    """Opens a run for the curves of a training that is under way; returns what logs a step's metrics.

    A side channel: the caller survives whatever it raises. `TIDEGATE_LIVE_URI` says where, else `default_uri`.
    """
    import atexit
    import time

    from mlflow.entities import Metric

    client = _initialized(os.environ.get("TIDEGATE_LIVE_URI") or default_uri())
    tags = {"tidegate.live": "true"}
    run = client.create_run(_experiment(client, task), run_name=run_name, tags=tags).info.run_id
    atexit.register(client.set_terminated, run)

    def log(metrics: dict[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        client.log_batch(run, metrics=[Metric(key, value, now, step) for key, value in metrics.items()])

    return log


def _experiment(client: "MlflowClient", task: str) -> str:
    if found := client.get_experiment_by_name(task):
        if found.lifecycle_stage == "deleted":  # by somebody in the browser; its name stays taken
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    location = (var_folder() / "mlflow" / task).as_uri()
    return str(client.create_experiment(task, artifact_location=location))


def _initialized(uri: str) -> "MlflowClient":
    """A client whose database has its tables: two processes that make them at once would collide."""
    import logging

    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    checked(uri)
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with locked():
        try:
            _make_tables(uri)
            client = MlflowClient(uri, uri)
            client.search_experiments(max_results=1)
        except (MlflowException, SQLAlchemyError, ValueError, ImportError, OSError) as error:
            raise unreachable(uri, error) from error
    return client


def _make_tables(uri: str) -> None:
    """Makes a new SQLite database beside its place and moves it there whole.

    MLflow makes its tables in many steps; a kill between two of them would leave a file that it never mends.
    """
    from mlflow import MlflowClient

    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or path.exists():
        return
    with replacing(path) as draft:
        MlflowClient(f"sqlite:///{draft}", f"sqlite:///{draft}").search_experiments(max_results=1)


@contextmanager
def locked(name: str = "registry") -> Iterator[None]:
    """One at a time, over all worktrees of the clone.

    Args:
        name: `registry`, for the moments in which log and registry are written; `promote`, for a whole promotion,
            which may take a minute and should hold up no rollback.

    Raises:
        BusyError: somebody holds it for ten minutes.
    """
    from filelock import FileLock, Timeout

    path = var_folder() / f"{name}.lock"
    try:
        held = FileLock(path, timeout=600, is_singleton=True).acquire()
    except Timeout:
        remedy = "See which process it is (`fuser` on that file) and wait for it, or stop it, and run again"
        raise BusyError(f"the lock {path}", "has been held by another run for ten minutes", remedy) from None
    with held:
        yield
