"""Messages reach a webhook and a mailbox here; what fails is said without the secrets, and raises nothing."""

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from monitoring import messages

ENTRY = {
    "id": "a1", "at": "2026-01-01T00:00:00Z", "why": "2 of the latest 3 windows drifted (length: longer)",
    "model": "m" * 64, "window": {"first": 501, "last": 1000}, "decision": "refused", "because": "one runs",
    "evidence": {
        "length": {"value": 0.31, "threshold": 0.08, "effect": 0.27, "rows": 500, "direction": "longer"},
        "accuracy": {"accuracy": 0.6, "rows": 90, "bound": 0.73, "evidence": 240.0, "needed": 100.0},
    },
}  # fmt: skip


@contextmanager
def webhook(status: int = 200) -> Iterator[tuple[int, list[Any]]]:
    """A server on this machine; gives its port and what it got."""
    got: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1], got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def mailbox() -> Iterator[tuple[int, list[str]]]:
    """An SMTP server on this machine that takes every mail; gives its port and the mails."""
    got: list[str] = []
    loop = asyncio.new_event_loop()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := (await reader.readline()).decode().strip():
            word = line.split()[0].upper()
            writer.write(b"354 go on\r\n" if word == "DATA" else b"221 bye\r\n" if word == "QUIT" else b"250 ok\r\n")
            if word == "DATA":
                got.append((await reader.readuntil(b"\r\n.\r\n")).decode())
                writer.write(b"250 ok\r\n")
            if word == "QUIT":
                break
        writer.close()

    server = loop.run_until_complete(asyncio.start_server(talk, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1], got
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.close()


def test_a_webhook_gets_title_and_body() -> None:
    with webhook() as (port, got):
        [sent] = messages.send([f"json://127.0.0.1:{port}/hook"], title="Tide", body="It drifts.")
    assert sent == messages.Sent("json://... (1 of 1)", sent=True, why="")
    assert (got[0]["title"], got[0]["message"]) == ("Tide", "It drifts.")


def test_a_mailbox_gets_a_mail() -> None:
    with mailbox() as (port, got):
        address = f"mailto://127.0.0.1:{port}?from=gate@example.org&to=ada@example.org&mode=insecure&format=text"
        [sent] = messages.send([address], title="Tide", body="It drifts.")
    assert sent.sent, sent.why
    assert "Subject: Tide" in got[0]
    assert "It drifts." in got[0]


def test_one_address_that_fails_keeps_no_other_from_its_message() -> None:
    with webhook(500) as (broken, _), webhook() as (port, got):
        to = [f"json://127.0.0.1:{broken}/token-of-ada", "nonsense", f"json://127.0.0.1:{port}"]
        first, second, third = messages.send(to, title="t", body="b")
    assert (first.sent, second.sent, third.sent) == (False, False, True)
    assert "500" in first.why
    assert second.why == "the address is not understood"
    assert len(got) == 1


@pytest.mark.parametrize("address", ["json://ada:hunter2secret@127.0.0.1:9/?x=1", "slack://T0/B0/hunter2secret"])
def test_no_secret_of_an_address_is_told(address: str) -> None:
    [sent] = messages.send([address], title="t", body="b")
    assert not sent.sent
    assert "hunter2secret" not in sent.to + sent.why


def test_what_a_sender_says_is_told_without_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some senders quote the address that failed."""

    def quotes(plugin: Any, **_: Any) -> bool:
        logging.getLogger("apprise").warning("cannot reach %s", plugin.fullpath)
        return False

    monkeypatch.setattr("apprise.plugins.custom_json.NotifyJSON.notify", quotes)
    [sent] = messages.send(["json://127.0.0.1:9/hunter2secret"], title="t", body="b")
    assert "cannot reach" in sent.why
    assert "hunter2secret" not in sent.to + sent.why


def test_addresses_come_from_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDE_MESSAGES", " json://a  mailto://b\n")
    assert messages.addresses("TIDE_MESSAGES") == ["json://a", "mailto://b"]
    monkeypatch.delenv("TIDE_MESSAGES")
    assert messages.addresses("TIDE_MESSAGES") == []


def test_a_message_says_what_was_found_where_and_what_was_decided() -> None:
    title, body = messages.about(ENTRY, "channels")
    assert title == "tidegate: alarm for channels"
    assert body == (
        "2 of the latest 3 windows drifted (length: longer).\n"
        "Window: predictions 501 to 1,000 of model mmmmmmmmmmmm.\n"
        "- length: 0.310, threshold 0.080, effect 0.270, n = 500; longer\n"
        "- accuracy: 0.600 of 90 audited rows, below 0.730 (evidence 240, 100 needed)\n"
        "No retraining: one runs.\n"
        "Alarm a1, 2026-01-01T00:00:00Z."
    )
