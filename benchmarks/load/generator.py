"""Asks a service over HTTP from a process of its own, and says in JSON how long the answers took.

Open loop: requests come at random times of a stated rate, and an answer's time counts from when its request was due, so
that a service that falls behind cannot hide it. Closed loop (rate 0): so many clients, each with the next request when
it has its answer. The client is bare sockets, so that it takes little of the CPUs that it shares with the service.
"""

import argparse
import asyncio
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

MOST_CONNECTIONS = 256


class Connection(asyncio.Protocol):
    """One request after the other; an answer is its status and its body."""

    def connection_made(self, transport: Any) -> None:
        """Begins idle."""
        self.transport, self.buffer, self.need, self.future = transport, b"", -1, None

    def ask(self, request: bytes) -> "asyncio.Future[tuple[int, bytes]]":
        """Sends a request; the future has its answer."""
        self.future, self.buffer, self.need = asyncio.get_running_loop().create_future(), b"", -1
        self.transport.write(request)
        return self.future

    def data_received(self, data: bytes) -> None:
        """Puts an answer together."""
        self.buffer += data
        if self.need < 0 and (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            length = head.split(b"content-length:")[1].split(b"\r\n")[0]
            self.need, self.body_at = end + 4 + int(length), end + 4
        if 0 <= self.need <= len(self.buffer) and self.future and not self.future.done():
            self.future.set_result((int(self.buffer[9:12]), self.buffer[self.body_at :]))

    def connection_lost(self, error: Exception | None) -> None:
        """Fails what waits for an answer."""
        if self.future and not self.future.done():
            self.future.set_exception(error or ConnectionError("closed"))


class Load:
    """Sends the requests and keeps what became of them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.requests = itertools.cycle(list(requests(options)))
        self.idle: list[Connection] = []
        self.seconds: list[float] = []
        self.failed: list[str] = []
        self.kept = options.keep.open("w") if options.keep else None

    async def ask(self, due: float) -> None:
        """Sends the next request that was due at a time of the clock, and notes its answer."""
        try:
            connection = await self._connection()
            status, body = await connection.ask(next(self.requests))
        except OSError as error:
            self.failed.append(type(error).__name__)
            return
        self.seconds.append(time.perf_counter() - due)
        if status != 200:
            self.failed.append(f"{status} {body[:100].decode(errors='replace')}")
        elif self.kept:
            for one in json.loads(body)["predictions"]:
                self.kept.write(
                    json.dumps([one["id"], one["model"], one["label"], [*one["probabilities"].values()]]) + "\n"
                )
        self.idle.append(connection)

    async def _connection(self) -> Connection:
        while self.idle:
            if not (connection := self.idle.pop()).transport.is_closing():
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, self.options.host, self.options.port)
        return connection

    async def at_a_rate(self) -> None:
        """Poisson arrivals."""
        draw = random.Random(self.options.seed)  # noqa: S311
        tasks: set[asyncio.Task[None]] = set()
        due = time.perf_counter()
        until = due + self.options.seconds
        while (due := due + draw.expovariate(self.options.rate)) < until:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if len(tasks) >= MOST_CONNECTIONS:
                self.failed.append("too many under way")
                continue
            task = asyncio.create_task(self.ask(due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            await asyncio.wait(tasks, timeout=20)

    async def in_turn(self) -> None:
        """So many clients at once."""
        until = time.perf_counter() + self.options.seconds

        async def client() -> None:
            while (now := time.perf_counter()) < until and not any("Error" in one for one in self.failed):
                await self.ask(now)

        await asyncio.gather(*(client() for _ in range(self.options.clients)))


def requests(options: argparse.Namespace) -> Iterator[bytes]:
    """Whole requests, each with the next texts in turn."""
    texts = json.loads(options.texts.read_text())
    for start in range(0, len(texts) - options.count + 1, options.count):
        some = texts[start : start + options.count]
        body = json.dumps({"inputs" if options.path == "/invocations" else "texts": some}).encode()
        yield (
            f"POST {options.path} HTTP/1.1\r\nhost: {options.host}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        ).encode() + body


def main() -> None:
    """Runs one load and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("texts", type=Path, help="a JSON list")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--path", default="/predict")
    parser.add_argument("--count", type=int, default=1, help="texts a request")
    parser.add_argument("--rate", type=float, default=0, help="requests a second; 0: clients in turn")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--keep", type=Path, help="a file for the ids, models, labels and probabilities of all answers")
    options = parser.parse_args()
    load, started = Load(options), time.perf_counter()
    uvloop.run(load.at_a_rate() if options.rate else load.in_turn())
    wall = time.perf_counter() - started
    if load.kept:
        load.kept.close()
    milliseconds = np.array(load.seconds or [float("nan")]) * 1000
    p50, p99 = np.percentile(milliseconds, [50, 99])
    good = len(load.seconds) - sum(not one.endswith("Error") and one != "too many under way" for one in load.failed)
    json.dump(
        {
            "answered": good, "failed": len(load.failed), "why": sorted(set(load.failed))[:5], "wall_s": wall,
            "requests_per_second": good / wall, "texts_per_second": good * options.count / wall,
            "p50_ms": float(p50), "p99_ms": float(p99), "longest_ms": float(milliseconds.max()),
        },
        sys.stdout,
    )  # fmt: skip


if __name__ == "__main__":
    main()
