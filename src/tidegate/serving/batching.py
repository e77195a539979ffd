"""Puts the texts of several requests into one call: a bounded queue, its worker threads, and when they start a call.

It knows neither models nor HTTP: what is called is given, texts in and as many results out.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
_PART = 4
"""Texts of one request that stay together: each part has costs of its own."""
_MEMORY = 0.2
"""Weight of the latest call in the running mean of the time that a text takes."""


class OverloadedError(Exception):
    """The queue is full.

    Args:
        retry_after_s: whole seconds until what waits now will have been answered.
    """

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many texts are waiting; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class ClosedError(Exception):
    """The service is being stopped and takes nothing more."""


@dataclass(slots=True)
class _Item(Generic[T]):
    texts: Sequence[str]
    future: "Future[list[T]]" = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


class Batcher(Generic[T]):
    """Merges what waits into calls of at most `batch_texts` texts, first come, first served; `workers` calls at once.

    A call starts at once when nothing else is under way. While other requests are, a call that is not full waits for
    company, until its oldest text has waited `wait_s`. What waits is shared among the workers, long requests too.
    """

    def __init__(
        self, call: Callable[[list[str]], list[T]], *, batch_texts: int, wait_s: float, queue_texts: int, workers: int
    ) -> None:
        self._call, self._most, self._wait_s, self._queue_texts = call, batch_texts, wait_s, queue_texts
        self._items: deque[_Item[T]] = deque()
        self._changed = threading.Condition()
        self._waiting, self._under_way = 0, 0
        self.closing = threading.Event()
        """Set once nothing more is taken."""
        self._text_s = 0.0
        self._workers = [threading.Thread(target=self._work, name="batcher", daemon=True) for _ in range(workers)]
        for worker in self._workers:
            worker.start()

    @property
    def waiting(self) -> int:
        """Texts in the queue."""
        return self._waiting

    def begin(self) -> None:
        """A request arrived whose texts may follow soon. Each is ended by `end`."""
        with self._changed:
            self._under_way += 1

    def end(self) -> None:
        """A request left."""
        with self._changed:
            self._under_way -= 1
            self._changed.notify()

    def submit(self, texts: Sequence[str]) -> "list[Future[list[T]]]":
        """Takes all texts or none; futures of the results, in order, each of at most `batch_texts` texts.

        Raises:
            OverloadedError: the queue has no room for them.
            ClosedError: it was closed.
        """
        size = min(self._most, max(_PART, math.ceil(len(texts) / len(self._workers))))
        items = [_Item[T](texts[start : start + size]) for start in range(0, len(texts), size)]
        with self._changed:
            if self.closing.is_set():
                raise ClosedError
            if self._waiting + len(texts) > self._queue_texts:
                raise OverloadedError(max(1, math.ceil(self._waiting * self._text_s / len(self._workers))))
            self._items.extend(items)
            self._waiting += len(texts)
            self._changed.notify(len(items))
        return [item.future for item in items]

    def close(self) -> None:
        """Takes nothing more, works off what waits, and ends."""
        with self._changed:
            self.closing.set()
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _work(self) -> None:
        while items := self._next():
            started = time.monotonic()
            texts = [text for item in items for text in item.texts]
            try:
                results = self._call(texts)
            except Exception as error:
                for item in items:
                    item.future.set_exception(error)
                continue
            latest = (time.monotonic() - started) / len(texts)
            self._text_s += (latest - self._text_s) * (_MEMORY if self._text_s else 1)
            at = 0
            for item in items:
                item.future.set_result(results[at : at + len(item.texts)])
                at += len(item.texts)

    def _next(self) -> list[_Item[T]]:
        """The items of the next call; none once it is closed and all is done."""
        with self._changed:
            while True:
                while not self._items:
                    if self.closing.is_set():
                        return []
                    self._changed.wait()
                self._await_company()
                if items := self._take():
                    if self._items:
                        self._changed.notify()
                    return items

    def _await_company(self) -> None:
        """Returns at once where the call is full, nobody else is under way, or the oldest has waited enough."""
        until = self._items[0].since + self._wait_s
        while (
            self._items
            and not self.closing.is_set()
            and self._waiting < self._most
            and self._under_way > len(self._items)
            and (left := until - time.monotonic()) > 0
        ):
            self._changed.wait(left)

    def _take(self) -> list[_Item[T]]:
        """What fits into one call, without those that nobody waits for any more."""
        taken: list[_Item[T]] = []
        room = min(self._most, math.ceil(self._waiting / len(self._workers)))
        if self._items:
            room = max(room, len(self._items[0].texts))
        while self._items and len(self._items[0].texts) <= room:
            item = self._items.popleft()
            self._waiting -= len(item.texts)
            if item.future.set_running_or_notify_cancel():
                taken.append(item)
                room -= len(item.texts)
        return taken
