"""Addresses of the hub, answered by a server of this test."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from tidegate.errors import SourceError
from tidegate.intake import hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves one file of one data set at one commit, as the hub's `resolve` address does."""

    def do_HEAD(self) -> None:
        known = self.path in (f"/datasets/own/set/resolve/{rev}/data/a.csv" for rev in (COMMIT, "main"))
        self.send_response(200 if known else 404)
        body = b"text\nfrom the hub\n" if known else b""
        if known:
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_GET = do_HEAD  # noqa: N815

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{served.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    yield
    served.shutdown()
    served.server_close()


def test_a_hub_file_is_fetched_though_the_hub_is_off_otherwise(server: None, tmp_path: Path) -> None:
    address = f"hf://datasets/own/set@{COMMIT}/data/a.csv"
    assert hub.fetch(address, cache=tmp_path).read_text() == "text\nfrom the hub\n"
    assert constants.HF_HUB_OFFLINE is True
    assert hub.unpinned(address) is None


def test_a_revision_that_may_move_is_taken_and_said(server: None, tmp_path: Path) -> None:
    address = "hf://datasets/own/set@main/data/a.csv"
    assert hub.fetch(address, cache=tmp_path).read_text() == "text\nfrom the hub\n"
    assert "follows 'main', which may move" in (hub.unpinned(address) or "")


def test_a_hub_file_that_is_not_there_is_a_source_error_and_the_hub_is_off_again(server: None, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="the hub does not give it"):
        hub.fetch(f"hf://datasets/own/set@{COMMIT}/data/b.csv", cache=tmp_path)
    assert constants.HF_HUB_OFFLINE is True


def test_a_hub_model_is_a_folder_without_pickled_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda **options: asked.update(options) or tmp_path)
    assert hub.fetch(f"hf://own/model@{COMMIT}", cache=tmp_path) == tmp_path
    assert (asked["repo_id"], asked["repo_type"], asked["revision"]) == ("own/model", "model", COMMIT)
    assert "*.safetensors" in asked["allow_patterns"]
    assert not [pattern for pattern in asked["allow_patterns"] if pattern in ("*", "*.bin", "*.pt")]


@pytest.mark.parametrize(
    ("address", "cause"),
    [
        ("hf://own/model", "names no revision"),
        ("hf://own@main", "is not of the form"),
        ("hf://datasets/own/set@main", "names no file of the data set"),
    ],
)
def test_an_address_that_is_not_understood_is_refused(address: str, cause: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=cause):
        hub.fetch(address, cache=tmp_path)
