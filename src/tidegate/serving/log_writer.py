"""Writes answers to the prediction log in groups: one thread, one transaction for all that waits, then the futures.

Whoever awaits the future of a row knows that the row is kept. What the rows say is decided by who hands them over.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from tidegate.serving.prediction_log import PredictionLog, prune
from tidegate.serving.tables import predictions, shadow

_GROUP = 512
"""Jobs that one transaction takes, at most."""
_PRUNE_EVERY_S = 3_600
_PRUNE_PAUSE_S = 0.2
_PRUNED_AT_ONCE = 500
"""Rows; a deletion holds up what is written for some milliseconds."""
_DAY_S = 86_400

Row = dict[str, Any]
Work = Callable[[sa.Connection], Any]


@dataclass(slots=True)
class _Job:
    work: Work | None = None
    rows: Sequence[Row] = ()
    future: "Future[Any]" = field(default_factory=Future)


class LogWriter:
    """The only writer of answers in this process."""

    def __init__(
        self, log: PredictionLog, *, keep_days: float, timed: Callable[[float], None] = lambda seconds: None
    ) -> None:
        """Starts the thread.

        Args:
            timed: is told the seconds of every transaction.
        """
        self._log, self._keep_s, self._timed = log, keep_days * _DAY_S, timed
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._prune_at = time.monotonic()
        self.failure: str | None = None
        """Why the latest group could not be written; None where it was."""
        self._thread = threading.Thread(target=self._work, name="log-writer", daemon=True)
        self._thread.start()

    def append(self, rows: Sequence[Row]) -> "Future[None]":
        """Adds rows of `predictions`; the future is done when they are on the disk, or has a DataError."""
        return self._put(_Job(rows=rows))

    def append_shadow(self, rows: Sequence[Row]) -> "Future[None]":
        """Adds rows of `shadow`, which nobody has to wait for."""
        return self._put(_Job(work=lambda connection: connection.execute(shadow.insert(), list(rows))))

    def submit(self, work: Work) -> "Future[Any]":
        """Does anything else in a transaction of the group; the future has its result once it is kept."""
        return self._put(_Job(work=work))

    def close(self) -> None:
        """Writes what waits, and ends."""
        self._jobs.put(None)
        self._thread.join()

    def _put(self, job: _Job) -> "Future[Any]":
        self._jobs.put(job)
        return job.future

    def _work(self) -> None:
        ended = False
        while not ended:
            jobs = self._waiting()
            ended = None in jobs
            if group := [job for job in jobs if job is not None]:
                self._write(group)
            if not ended and time.monotonic() >= self._prune_at:
                self._prune()

    def _waiting(self) -> list[_Job | None]:
        """All that waits; what comes first, where nothing does; nothing, when it is time to prune."""
        try:
            jobs = [self._jobs.get(timeout=max(0.0, self._prune_at - time.monotonic()))]
        except queue.Empty:
            return []
        while len(jobs) < _GROUP:
            try:
                jobs.append(self._jobs.get_nowait())
            except queue.Empty:
                break
        return jobs

    def _write(self, jobs: list[_Job]) -> None:
        started, results = time.perf_counter(), []
        rows = [row for job in jobs for row in job.rows]
        try:
            with self._log.transaction() as connection:
                if rows:
                    connection.execute(predictions.insert(), rows)
                results = [job.work(connection) if job.work else None for job in jobs]
        except Exception as error:
            self.failure = str(error)
            for job in jobs:
                if job.future.set_running_or_notify_cancel():
                    job.future.set_exception(error)
            return
        self.failure = None
        self._timed(time.perf_counter() - started)
        for job, result in zip(jobs, results, strict=True):
            if job.future.set_running_or_notify_cancel():
                job.future.set_result(result)

    def _prune(self) -> None:
        """A few rows at a time, which leaves room for what is to be written between."""
        try:
            with self._log.transaction() as connection:
                deleted = prune(connection, time.time() - self._keep_s, _PRUNED_AT_ONCE)
        except Exception as error:
            self.failure, deleted = str(error), 0
        more = deleted >= _PRUNED_AT_ONCE
        self._prune_at = time.monotonic() + (_PRUNE_PAUSE_S if more else _PRUNE_EVERY_S)
