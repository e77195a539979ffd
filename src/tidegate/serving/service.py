"""One running service without HTTP: texts in, logged answers out. It joins batcher, model, log, shadow and metrics."""

import asyncio
import os
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from tidegate.package import available_cpus
from tidegate.serving import explain
from tidegate.serving.answering import Answer
from tidegate.serving.batching import Batcher
from tidegate.serving.championship import Served
from tidegate.serving.log_writer import LogWriter
from tidegate.serving.metrics import Metrics
from tidegate.serving.prediction_log import Feedback, PredictionLog, add_feedback, probabilities_of
from tidegate.serving.settings import Settings
from tidegate.serving.shadowing import Shadow

_ID_BYTES = 10
_CHANCE_BYTES = 4


@dataclass(slots=True)
class Given:
    """An answer that may go out."""

    answer: Answer
    id: str | None
    """None where no log is kept."""
    explanation: list[tuple[str, float]] | None = None


class Service:
    """Answers with what `served` holds. With a log no answer is given before it is kept."""

    def __init__(self, served: Served, how: Settings, log: PredictionLog | None) -> None:
        self.served, self.how, self.metrics = served, how, Metrics()
        self.closing = False
        self.batcher: Batcher[Answer] = Batcher(
            self._answers, batch_texts=how.batch_texts, wait_s=how.batch_wait_ms / 1000, queue_texts=how.queue_texts,
            workers=how.workers or available_cpus(),
        )  # fmt: skip
        self.metrics.waiting.set_function(lambda: self.batcher.waiting)
        self.metrics.refused.set_function(lambda: float(served.refused is not None))
        self.writer = LogWriter(log, keep_days=how.keep_days, timed=self.metrics.commit.observe) if log else None
        self._shadow = self._shadowing(self.writer) if self.writer and how.shadow else None
        self.changed("first")

    def changed(self, outcome: str) -> None:
        """Tells the metrics which package is in service; `outcome` is what became of a new champion."""
        if outcome != "first":
            self.metrics.reloads.labels(outcome).inc()
        self.metrics.serves(self.served.model.digest, self.served.model.version)

    def close(self) -> None:
        """Answers and writes all that was taken in, and ends the threads."""
        self.closing = True
        self.batcher.close()
        if self._shadow:
            self._shadow.close()
        if self.writer:
            self.writer.close()

    @property
    def unready(self) -> str | None:
        """Why no request should come here; None where it may."""
        if self.closing:
            return "the service is being stopped"
        return self.writer.failure if self.writer else None

    async def predict(self, texts: Sequence[str], *, document: str | None, explained: bool) -> list[Given]:
        """Answers, kept in the log, in the order of the texts.

        Raises:
            OverloadedError: too many texts wait.
            ClosedError: the service is being stopped.
            TimeoutError: there was no answer in time.
            DataError: the answers cannot be logged.
        """
        async with asyncio.timeout(self.how.timeout_s):
            answers = await self._ask(texts)
            explanations = [await self._explain(answer) for answer in answers] if explained else [None] * len(answers)
            ids = await self._keep(answers, document)
        if self._shadow:
            self._shadow.offer([str(name) for name in ids], texts)
        for answer in answers:
            self.metrics.labels.labels(answer.label).inc()
        return [Given(*given) for given in zip(answers, ids, explanations, strict=True)]

    async def feedback(self, given: Feedback) -> bool:
        """Keeps a true label; whether its prediction is known.

        Raises:
            DataError: it cannot be kept.
            TimeoutError: not in time.
        """
        if self.writer is None:
            return False
        async with asyncio.timeout(self.how.timeout_s):
            known = bool(await _done(self.writer.submit(lambda connection: add_feedback(connection, given))))
        self.metrics.feedback.inc(known)
        return known

    async def _ask(self, texts: Sequence[str]) -> list[Answer]:
        parts = [await _done(future) for future in self.batcher.submit(texts)]
        return [answer for part in parts for answer in part]

    def _answers(self, texts: list[str]) -> list[Answer]:
        self.metrics.batch.observe(len(texts))
        return self.served.model.answers(texts)

    async def _explain(self, answer: Answer) -> list[tuple[str, float]]:
        pieces = explain.parts(answer.text, self.how.explain_parts)
        if not pieces:
            return []
        others = await self._ask([answer.text, *explain.without_each(pieces)])
        whole, *without = [other.probabilities for other in others]
        return list(zip(pieces, explain.weights(whole, without), strict=True))

    async def _keep(self, answers: Sequence[Answer], document: str | None) -> Sequence[str | None]:
        if self.writer is None:
            return [None] * len(answers)
        rows = rows_of(answers, document, audit_share=self.how.audit_share, now=time.time())
        await _done(self.writer.append(rows))
        return [row["id"] for row in rows]

    def _shadowing(self, writer: LogWriter) -> Shadow:
        return Shadow(
            lambda: self.served.challenger,
            busy=lambda: self.batcher.waiting > 0,
            log=lambda rows: writer.append_shadow(rows).result(),
            counted=lambda outcome, texts: self.metrics.shadow.labels(outcome).inc(texts),
        )


async def _done(future: "Future[Any]") -> Any:
    return await asyncio.wrap_future(future)


def rows_of(answers: Sequence[Answer], document: str | None, *, audit_share: float, now: float) -> list[dict[str, Any]]:
    """Rows of the table `predictions`. Ids begin with the time, so that they come in order; the rest is random.

    What is marked for audit is drawn from the system's randomness, one row at a time: nobody can tell or choose which.
    """
    width = _ID_BYTES + _CHANCE_BYTES
    random, time_part = os.urandom(width * len(answers)), f"{int(now * 1000):012x}"
    bound = audit_share * 2 ** (8 * _CHANCE_BYTES)
    rows = []
    for at, answer in enumerate(answers):
        own = random[at * width : (at + 1) * width]
        rows.append({
            "id": time_part + own[:_ID_BYTES].hex(), "at": now, "model": answer.model.digest, "text": answer.text,
            "label": answer.label, "probabilities": probabilities_of(answer.probabilities), "tokens": answer.tokens,
            "unknown": answer.unknown, "audit": int(int.from_bytes(own[_ID_BYTES:]) < bound), "document": document,
        })  # fmt: skip
    return rows
