"""The service as a process: ready, followed, killed, stopped, and talked to by clients that do not behave."""

import concurrent.futures
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tidegate.errors import BusyError
from tidegate.package import Package
from tidegate.serving import server
from tidegate.serving.settings import read

Crown = Callable[..., str]
ASK = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: "


def logged(var: Path) -> dict[str, tuple[str, str]]:
    """By id model and label of all that stands in the log."""
    database = sqlite3.connect(var / "predictions" / "channels.db")
    rows = {name: (model, label) for name, model, label in database.execute("SELECT id, model, label FROM predictions")}
    database.close()
    return rows


class Client(threading.Thread):
    """Asks one text after the other until it is stopped, or nobody answers; keeps what it was given."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.address, self.given, self.failed = address, dict[str, tuple[str, str]](), list[Any]()
        self.models: set[str] = set()
        self.some, self.stop, self.gone = threading.Event(), threading.Event(), False

    def run(self) -> None:
        with httpx.Client(trust_env=False, timeout=20) as client:
            while not self.stop.is_set():
                try:
                    answer = client.post(f"{self.address}/predict", json={"texts": ["good", "bad"]})
                except httpx.HTTPError:
                    self.gone = True
                    return
                if answer.status_code == 200:
                    for one in answer.json()["predictions"]:
                        self.given[one["id"]] = (one["model"], one["label"])
                    self.models.add(answer.json()["model"])
                    self.some.set()
                else:
                    self.failed.append(answer.text)


def test_a_package_is_served_as_it_is_and_nothing_is_logged(package_folder: Any, running: Any, var: Path) -> None:
    package = Package.load(package_folder(), threads=1)
    with running(str(package.folder), TIDEGATE_API_KEYS="k") as (process, address):
        answer = httpx.post(f"{address}/predict", json={"texts": ["good"]}, headers={"authorization": "Bearer k"})
        np.testing.assert_allclose(
            list(answer.json()["predictions"][0]["probabilities"].values()), package.predict(["good"])[0], atol=1e-7
        )
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(20) == 0
    assert rest.endswith("stopped\n")
    assert "Traceback" not in rest
    assert not (var / "predictions").exists()


def test_the_champion_is_replaced_under_load_without_a_failed_request(crown: Crown, running: Any, var: Path) -> None:
    first = crown(1)
    with running() as (process, address):
        clients = [Client(address) for _ in range(3)]
        for client in clients:
            client.start()
        for client in clients:
            assert client.some.wait(20)
        second = crown(2)
        deadline = threading.Event()
        threading.Timer(20, deadline.set).start()
        while not deadline.wait(0.01) and not all(second in client.models for client in clients):
            pass
        for client in clients:
            client.stop.set()
        for client in clients:
            client.join(20)
        process.terminate()
        process.stdout.read()
        process.wait(20)
    assert [(client.failed, client.gone, client.models) for client in clients] == [([], False, {first, second})] * 3
    given = {name: row for client in clients for name, row in client.given.items()}
    assert logged(var) == given, "the rows of the log are the answers"


def test_a_kill_under_load_loses_no_row_that_was_acknowledged(crown: Crown, running: Any, var: Path) -> None:
    crown(1)
    with running() as (process, address):
        clients = [Client(address) for _ in range(4)]
        for client in clients:
            client.start()
        for client in clients:
            assert client.some.wait(20)
        process.kill()
        for client in clients:
            client.join(20)
    given = {name: row for client in clients for name, row in client.given.items()}
    assert len(given) >= 8
    assert given.items() <= logged(var).items()


def test_a_request_under_way_is_answered_before_the_end(crown: Crown, running: Any, root: Path, var: Path) -> None:
    crown(1)
    texts = ["good film " * 500] * 1_000
    with running() as (process, address), concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(httpx.post, f"{address}/predict", json={"texts": texts}, timeout=60)
        while "tidegate_batch_texts_count 0.0" in (text := httpx.get(f"{address}/metrics").text):
            pass  # until it is being answered
        assert 'status="200"' not in "".join(line for line in text.splitlines() if '"/predict"' in line)
        process.send_signal(signal.SIGTERM)
        assert len(answer.result(60).json()["predictions"]) == 1_000
        process.stdout.read()
        process.wait(20)
    assert len(logged(var)) == 1_000


RUDE = {
    "silence": (b"", b"408"),
    "half a line": (b"POST /predict HT", b"408"),
    "half a head": (ASK + b"100\r\n", b"408"),
    "half a body": (ASK + b'100\r\n\r\n{"text": ', b"408"),
    "half a chunk": (b"POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\n", b"408"),
    "50 MB": (ASK + b"50000000\r\n\r\n{", b"413"),
    "a huge head": (b"GET /healthz HTTP/1.1\r\nx: " + b"y" * 300_000, b"431"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00", b"400"),
    "no HTTP": (b"nonsense\r\n\r\n", b"400"),
}


def test_clients_that_do_not_behave_are_ended_in_time_and_the_service_goes_on(crown: Crown, running: Any) -> None:
    crown(1)
    with running() as (process, address), concurrent.futures.ThreadPoolExecutor(len(RUDE)) as pool:
        port = int(address.rpartition(":")[2])
        found = dict(zip(RUDE, pool.map(lambda case: talk(port, case[0]), RUDE.values()), strict=True))
        assert {name: answer[9:12] for name, answer in found.items()} == {name: case[1] for name, case in RUDE.items()}
        assert httpx.post(f"{address}/predict", json={"text": "good"}).status_code == 200
        process.terminate()
        assert "Traceback" not in process.stdout.read()


def talk(port: int, sent: bytes) -> bytes:
    """All that is answered until the service ends the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        answer = b""
        try:
            connection.sendall(sent)
            while part := connection.recv(65_536):
                answer += part
        except ConnectionError:  # it was ended with some of ours unread
            pass
        return answer


def test_a_taken_port_is_named(package_folder: Any, root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BusyError, match=rf"127\.0\.0\.1:{port}: cannot be listened on"):
            server.serve_package(package_folder(), read(root), host="127.0.0.1", port=port)
