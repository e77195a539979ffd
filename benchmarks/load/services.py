"""Starts what is compared: the service in a world of its own, and MLflow's of the same package."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent


@contextmanager
def ours(world: Path) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """`tidegate serve` of the champion of a world of its own."""
    command = [sys.executable, "-m", "tidegate", "serve", "--port", "0"]
    environment = os.environ | {"TIDEGATE_VAR": str(world / "var")}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            announced = next(line for line in process.stdout if line.startswith("serving "))
            yield int(announced.rsplit(":", 1)[1]), process
        finally:
            process.terminate()


@contextmanager
def theirs(world: Path, package: Path) -> Iterator[int]:
    """`mlflow models serve` of the same package, as it comes."""
    import mlflow

    target, port = world / "mlflow", _free_port()
    mlflow.pyfunc.save_model(
        target, python_model=str(HERE / "mlflow_model.py"), artifacts={"package": str(package)},
        pip_requirements=[],
    )  # fmt: skip
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(target), "--env-manager", "local"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # it calls `uvicorn` by its name
    with (
        (world / "mlflow.log").open("w") as log,
        subprocess.Popen(
            [*command, "-p", str(port)], stdout=log, stderr=log, start_new_session=True, env=os.environ | {"PATH": path}
        ) as process,
    ):
        try:
            _await(f"http://127.0.0.1:{port}/ping", process, world / "mlflow.log")
            yield port
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _await(url: str, process: "subprocess.Popen[bytes]", log: Path, most_s: float = 120) -> None:
    until = time.monotonic() + most_s
    while time.monotonic() < until and process.poll() is None:
        try:
            httpx.get(url, timeout=5)
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"{url} does not answer:\n{log.read_text()[-2000:]}")


def make_world(world: Path, package: Path) -> list[str]:
    """Two packages in a store of their own that differ in name alone, the first crowned; gives their digests."""
    from tidegate import package as packages
    from tidegate import package_store
    from tidegate.files import digest_folder

    os.environ["TIDEGATE_VAR"] = str(world / "var")
    metadata = packages.read_metadata(package)
    digests = []
    for name in ("one", "two"):
        folder = world / name
        packages.write(
            folder,
            model=package / "model.onnx",
            tokenizer=package / "tokenizer.json",
            metadata=metadata | {"name": name},
        )
        digests.append(digest_folder(folder))
        package_store.store(folder, digests[-1])
    crown(metadata["task"], digests[0])
    return digests


def crown(task: str, digest: str) -> None:
    """Lets the log of the world say who is champion."""
    from tidegate.release import log

    log.append(task, "found", candidate=digest, aliases=["champion"], why=["a benchmark"])
