"""How long the server waits for the head of a request, and how large it may be: neither is bounded by itself.

Bodies are bounded in `guards`.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_HEAD_BYTES = 65_536
"""Bytes that the head of a request may have, as other servers take them at most."""


def impatient(timeout_s: float) -> type[asyncio.Protocol]:
    """The protocol that ends a connection whose head does not arrive in time."""
    return type("Impatient", (_Impatient,), {"timeout_s": timeout_s})


class _Impatient(HttpToolsProtocol):
    timeout_s: float
    _patience: asyncio.TimerHandle | None = None
    _head = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        self._head_is_there()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        self._head += len(data)
        super().data_received(data)
        if self._patience and self._head > _HEAD_BYTES:
            self._end(b"431 Request Header Fields Too Large")

    def _expect_head(self) -> None:
        self._head_is_there()
        self._patience = self.loop.call_later(self.timeout_s, self._end, b"408 Request Timeout")

    def _head_is_there(self) -> None:
        self._head = 0
        if self._patience:
            self._patience.cancel()
        self._patience = None

    def _end(self, status: bytes) -> None:
        self._head_is_there()
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()
