"""Asks the challenger what the champion was asked, beside the service: its answers are logged and never returned.

It takes what is left over: a thread of its own, a bounded queue, and nothing while texts wait for the champion. What it
drops is counted.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from tidegate.serving.answering import Model
from tidegate.serving.prediction_log import probabilities_of

_QUEUE = 64
"""Requests that may wait for the challenger."""


class Shadow:
    """The challenger's worker."""

    def __init__(
        self,
        challenger: Callable[[], Model | None],
        *,
        busy: Callable[[], bool],
        log: Callable[[list[dict[str, Any]]], object],
        counted: Callable[[str, int], None],
    ) -> None:
        """Starts the thread.

        Args:
            challenger: the model to ask now.
            busy: whether texts wait for the champion.
            log: is given rows of the table `shadow`.
            counted: is told outcome (`answered`, `dropped`, `failed`) and number of texts.
        """
        self._challenger, self._busy, self._log, self._counted = challenger, busy, log, counted
        self._waiting: queue.Queue[tuple[Sequence[str], Sequence[str]] | None] = queue.Queue(_QUEUE)
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, ids: Sequence[str], texts: Sequence[str]) -> None:
        """Takes the texts of a request, by the ids of their predictions, or drops them; returns at once."""
        if self._challenger() is None:
            return
        try:
            self._waiting.put_nowait((ids, texts))
        except queue.Full:
            self._counted("dropped", len(texts))

    def close(self) -> None:
        """Ends after the request at hand; what waits is dropped."""
        self._ending = True
        with contextlib.suppress(queue.Full):  # a thread that has work does not wait, and sees that it is to end
            self._waiting.put_nowait(None)
        self._thread.join()

    _ending = False

    def _work(self) -> None:
        while (item := self._waiting.get()) and not self._ending:
            ids, texts = item
            model = self._challenger()
            if model is None or self._busy():
                self._counted("dropped", len(texts))
                continue
            try:
                self._log(_rows(ids, model, texts))
                self._counted("answered", len(texts))
            except Exception:  # a challenger may be anything, and must not hurt
                self._counted("failed", len(texts))


def _rows(ids: Sequence[str], model: Model, texts: Sequence[str]) -> list[dict[str, Any]]:
    now = time.time()
    return [
        {
            "prediction_id": name, "at": now, "model": model.digest, "label": answer.label,
            "probabilities": probabilities_of(answer.probabilities),
        }
        for name, answer in zip(ids, model.answers(texts), strict=True)
    ]  # fmt: skip
