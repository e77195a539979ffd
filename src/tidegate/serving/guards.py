"""What stands before the application: keys, time and size limits of bodies, and the count of all that was answered."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Mapping

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegate.errors import ParamsError
from tidegate.serving.metrics import Metrics
from tidegate.serving.settings import KEYS

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/oauth2-redirect"})
"""Need no key: they tell nothing of what was asked."""


class Keys:
    """The keys of clients; none where everybody may ask."""

    def __init__(self, listed: str | None) -> None:
        """Reads `KEY` or `NAME:KEY`, with commas between.

        Raises:
            ParamsError: something is listed, and no key is among it, or one is empty.
        """
        pairs = [entry.strip().rpartition(":") for entry in (listed or "").split(",") if entry.strip()]
        if (listed is not None and not pairs) or any(not key for *_, key in pairs):
            raise ParamsError(KEYS, ["holds no key, or an empty one"], "List keys with commas between, or unset it")
        self._names = {_digest(key): name or f"key {number}" for number, (name, _, key) in enumerate(pairs, start=1)}

    def __bool__(self) -> bool:
        return bool(self._names)

    def name(self, authorization: str) -> str | None:
        """Whose key a header `Authorization: Bearer KEY` holds; None where it is nobody's."""
        scheme, _, key = authorization.partition(" ")
        given, found = _digest(key.strip()), None
        for digest, name in self._names.items():  # all of them: the time tells nothing
            if hmac.compare_digest(digest, given):
                found = name
        return found if scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class Guard:
    """Lets through what has a key and a whole body in time; `scope["state"]["client"]` names who asks.

    It answers 401, 408 and 413 itself, and tells the metrics of every answer.
    """

    def __init__(self, app: ASGIApp, *, keys: Keys, metrics: Metrics, max_bytes: int, read_timeout_s: float) -> None:
        self.app, self.keys, self.metrics = app, keys, metrics
        self.max_bytes, self.read_timeout_s = max_bytes, read_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers or passes on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def told(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._guarded(scope, receive, told)
        finally:
            path = scope["path"] if scope["path"] in _COUNTED else "other"
            self.metrics.requests.labels(path, str(status or "gone")).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - started)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        client = self.keys.name(headers.get(b"authorization", b"").decode("latin-1")) if self.keys else "anybody"
        if client is None and scope["path"] not in OPEN_PATHS:
            await _refuse(send, 401, "give a key: Authorization: Bearer KEY", (b"www-authenticate", b"Bearer"))
            return
        scope.setdefault("state", {})["client"] = client
        try:
            async with asyncio.timeout(self.read_timeout_s):
                body = await self._read(headers, receive)
        except TimeoutError:
            await _refuse(send, 408, f"the body did not arrive within {self.read_timeout_s:g} s", _CLOSE)
            return
        if body is None:
            return
        if body is _TOO_LARGE:
            await _refuse(send, 413, f"the body exceeds {self.max_bytes:,} bytes", _CLOSE)
            return
        await self.app(scope, _replayed(body, receive), send)

    async def _read(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes | None:
        """The body, or `_TOO_LARGE`, announced or not; None where the client has gone."""
        announced = headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced) > self.max_bytes:
            return _TOO_LARGE
        chunks, size, more = list[bytes](), 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self.max_bytes:
                return _TOO_LARGE
            more = message.get("more_body", False)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


_COUNTED = OPEN_PATHS | {"/predict", "/feedback"}
_CLOSE = (b"connection", b"close")
_TOO_LARGE = b"too large"


def _replayed(body: bytes, receive: Receive) -> Receive:
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return left.pop() if left else await receive()

    return next_message


async def _refuse(send: Send, status: int, detail: str, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", b"application/json"), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": orjson.dumps({"detail": detail})})
