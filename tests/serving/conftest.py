"""Services of tiny packages: in this process, and as a process of their own that follows a champion."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from tidegate import package_store, params
from tidegate.files import digest_folder
from tidegate.package import Package
from tidegate.process import leave_no_orphans
from tidegate.release import log
from tidegate.serving.answering import Model
from tidegate.serving.app import create_app
from tidegate.serving.championship import Served
from tidegate.serving.guards import Keys
from tidegate.serving.prediction_log import PredictionLog
from tidegate.serving.service import Service
from tidegate.serving.settings import Settings

Make = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]
SHIPPED = params.load(ROOT / "params.yaml")


@pytest.fixture
def how() -> Callable[..., Settings]:
    """The shipped settings of the service, with changes."""

    def make(**changes: Any) -> Settings:
        return params.bind(Settings, SHIPPED["serve"] | {"workers": 2} | changes, section="serve")

    return make


@pytest.fixture
def model(package_folder: Make) -> Model:
    return Model(Package.load(package_folder(), threads=1), 3)


@pytest.fixture
def prediction_log(var: Path) -> Iterator[PredictionLog]:
    with PredictionLog("channels", None) as opened:
        yield opened


@pytest.fixture
def service(model: Model, how: Callable[..., Settings], prediction_log: PredictionLog) -> Iterator[Callable[..., Any]]:
    """Makes a service that is closed in the end."""
    made: list[Service] = []

    def make(*, logged: bool = True, **changes: Any) -> Service:
        made.append(Service(Served(model), how(**changes), prediction_log if logged else None))
        return made[-1]

    yield make
    for one in made:
        if not one.closing:
            one.close()


@pytest.fixture
def client(service: Callable[..., Service]) -> Callable[..., TestClient]:
    def make(*, keys: str | None = None, **changes: Any) -> TestClient:
        return TestClient(create_app(service(**changes), Keys(keys)), raise_server_exceptions=False)

    return make


@pytest.fixture
def crown(var: Path, package_folder: Make, tmp_path: Path) -> Callable[..., str]:
    """Makes a package, stores it and crowns it; gives its digest."""

    def make(seed: int = 1) -> str:
        folder = package_folder(tmp_path / f"made-{seed}", seed=seed)
        digest = digest_folder(folder)
        package_store.store(folder, digest)
        log.append("channels", "found", candidate=digest, aliases=["champion"], why=["a test"])
        return digest

    return make


@pytest.fixture
def root(var: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose service looks for its champion often."""
    folder = tmp_path / "clone"
    folder.mkdir()
    sections = {"ingest": {"task": "channels"}, "promote": SHIPPED["promote"], "serve": SHIPPED["serve"]}
    sections["serve"] = sections["serve"] | {"poll_s": 0.05, "read_timeout_s": 0.5, "workers": 2}
    (folder / "params.yaml").write_text(yaml.safe_dump(sections))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def running(root: Path) -> Callable[..., Any]:
    """Starts `tidegate serve` in a process of its own; gives the process, and its address once it is ready."""
    leave_no_orphans()

    @contextmanager
    def start(*words: str, **environment: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
        command = [sys.executable, "-m", "tidegate", "serve", "--port", "0", *words]
        with subprocess.Popen(
            command, cwd=root, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout
            said = []
            try:
                for line in process.stdout:
                    said.append(line)
                    if line.startswith("serving "):
                        yield process, line.split()[-1]
                        break
                else:
                    pytest.fail(f"did not become ready: {''.join(said)}")
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)

    return start
