"""The service: answers as the package does, refuses what it cannot take, says when it is ready, and ends in order."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from tidegate.errors import BusyError, PackageError
from tidegate.package import Package
from tidegate.serving import app

Make = Callable[..., Path]
TEXTS = ["a <b>good</b> film", "bad", "", "日本 😀"]


@pytest.fixture
def package(package_folder: Make) -> Package:
    return Package.load(package_folder())


@pytest.fixture
def client(package: Package) -> TestClient:
    return TestClient(app.create_app(package))


def test_texts_are_answered_as_by_the_package(client: TestClient, package: Package) -> None:
    answer = client.post("/predict", json={"texts": TEXTS}).json()
    assert answer["model"] == package.digest
    assert answer["task"] == "channels"
    for prediction, expected in zip(answer["predictions"], package.predict(TEXTS), strict=True):
        assert list(prediction["probabilities"]) == list(package.labels)
        np.testing.assert_allclose(list(prediction["probabilities"].values()), expected)
        assert prediction["label"] == package.labels[expected.argmax()]


def test_one_text_is_answered_like_a_list_of_one(client: TestClient) -> None:
    one, many = (client.post("/predict", json=body).json() for body in ({"text": "good"}, {"texts": ["good"]}))
    assert one == many


def test_health_names_the_model(client: TestClient, package: Package) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "task": "channels", "model": package.digest}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"no json", 422),
        (b"[1, 2]", 422),
        (b"{}", 422),
        (b'{"text": "a", "texts": ["a"]}', 422),
        (b'{"texts": []}', 422),
        (b'{"texts": "good"}', 422),
        (b'{"texts": [1]}', 422),
        (b'{"texts": [null]}', 422),
        (b'{"text": "a", "odd": 1}', 422),
        (b'{"text": "\\ud800"}', 422),
        (b'{"text": "\xff"}', 400),
        (b'{"texts": ' + b"[" * 200_000, 400),
        (json.dumps({"texts": ["a"] * (app.MAX_TEXTS + 1)}).encode(), 422),
        (json.dumps({"text": "a" * (app.MAX_CHARACTERS + 1)}).encode(), 422),
        (b" " * (app.MAX_BYTES + 1), 413),
    ],
    ids=range(16),
)
def test_bad_requests_are_refused_with_a_reason(client: TestClient, body: bytes, status: int) -> None:
    answer = client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["detail"]
    assert len(answer.content) < 2_000, "the request is not given back"


def test_a_body_without_an_announced_length_is_bounded_too(client: TestClient) -> None:
    answer = client.post("/predict", content=(b" " * 1_000_000 for _ in range(20)))
    assert answer.status_code == 413


def test_requests_at_the_limits_are_answered(client: TestClient) -> None:
    assert client.post("/predict", json={"texts": ["good"] * app.MAX_TEXTS}).status_code == 200
    assert client.post("/predict", json={"text": "good " * (app.MAX_CHARACTERS // 5)}).status_code == 200


def test_its_documentation_shows_examples(client: TestClient) -> None:
    found: dict[str, Any] = client.get("/openapi.json").json()
    request = found["components"]["schemas"]["Request"]
    for example in request["examples"]:
        assert client.post("/predict", json=example).status_code == 200
    assert "413" in found["paths"]["/predict"]["post"]["responses"]


def test_it_serves_over_http_says_when_it_is_ready_and_ends_when_told(package: Package) -> None:
    code = "import sys; from pathlib import Path; from tidegate.serving.app import serve;"
    code += "serve(Path(sys.argv[1]), host='127.0.0.1', port=0, expected_digest=sys.argv[2])"
    command = [sys.executable, "-c", code, str(package.folder), package.digest]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            words = process.stdout.readline().split()
            assert words[:3] == ["serving", package.digest, "on"]
            answer = httpx.post(f"{words[3]}/predict", json={"texts": TEXTS}, timeout=20)
            given = [list(prediction["probabilities"].values()) for prediction in answer.json()["predictions"]]
            np.testing.assert_allclose(given, package.predict(TEXTS), atol=1e-7)
        finally:
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert rest == "stopped\n"
    assert "Traceback" not in errors


def test_a_taken_port_is_named(package: Package) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BusyError, match=rf"127\.0\.0\.1:{port}: cannot be listened on"):
            app.serve(package.folder, host="127.0.0.1", port=port)


def test_another_package_than_expected_is_not_served(package: Package) -> None:
    with pytest.raises(PackageError, match="its digest is"):
        app.serve(package.folder, host="127.0.0.1", port=0, expected_digest="0" * 64)


def test_reading_stops_at_the_limit_though_the_body_goes_on() -> None:
    read, sent = [], []

    async def endless() -> dict[str, Any]:
        read.append(1)
        return {"type": "http.request", "body": b" " * 10, "more_body": True}

    async def keep(message: Any) -> None:
        sent.append(message)

    async def never(*_: Any) -> None:
        raise AssertionError("the application was asked")

    asyncio.run(app.LimitedBody(never, limit=95)({"type": "http"}, endless, keep))
    assert len(read) == 10
    assert sent[0]["status"] == 413
