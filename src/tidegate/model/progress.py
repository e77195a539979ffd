"""What is seen of a training that is under way: a bar or lines, and the live curves.

None of it can stop a training.
"""

import os
import pkgutil
import sys
import time
from collections.abc import Callable
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from typing_extensions import override

Log = Callable[[dict[str, float], int], None]
"""Takes figures by name, and the step."""

_LINES = 20  # a run, validations apart


def live(task: str, run: str) -> "Live":
    """The live curves of a run, where the caller hands in a log: `TIDEGATE_LIVE` names a function, `MODULE:NAME`.

    By name, and not by import: how curves are shown is no part of what a model was made from.
    """
    hook = os.environ.get("TIDEGATE_LIVE")
    return Live((lambda: pkgutil.resolve_name(hook)(task, run)) if hook else None)


class Live:
    """Hands figures to a log, opened at the first; at a failure it warns once and is silent from then on."""

    def __init__(self, open_log: Callable[[], Log] | None) -> None:
        self._open = open_log
        self._log: Log | None = None

    def __call__(self, figures: dict[str, float], step: int) -> None:
        """Logs figures by name; never raises."""
        if self._open is None:
            return
        try:
            self._log = self._log or self._open()
            self._log(figures, step)
        except Exception as error:  # a side channel: the training is worth more than its curves
            print(f"Live curves are off: {type(error).__name__}: {error}", file=sys.stderr)
            self._open = None


class Lines(Callback):
    """Prints a line every so many steps: where the training is, its loss, texts a second, time left."""

    def __init__(self, *, steps: int, rounds: int, live: Live) -> None:
        self._steps, self._rounds, self._live = steps, rounds, live
        self._every = max(1, steps // _LINES)
        self._texts = 0
        self._seen = self._first = 0
        self._started = 0.0

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started, self._first, self._seen = time.monotonic(), trainer.global_step, trainer.global_step

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: dict[str, Any], batch_idx: int
    ) -> None:
        self._texts += len(batch["labels"]) * trainer.world_size
        if trainer.global_step == self._seen:
            return  # a part of a step
        self._seen = trainer.global_step
        if self._seen % self._every or not trainer.is_global_zero:
            return
        loss = float(outputs["loss"])
        self._live({"batch_loss": loss}, self._seen)
        if not sys.stdout.isatty():
            print(self._line(trainer.current_epoch // self._rounds + 1, loss), flush=True)

    def _line(self, epoch: int, loss: float) -> str:
        seconds = max(time.monotonic() - self._started, 1e-9)
        left = seconds / (self._seen - self._first) * (self._steps - self._seen)
        return (
            f"epoch {epoch}, step {self._seen:,} of {self._steps:,}: loss {loss:.3f},"
            f" {self._texts / seconds:,.0f} texts/s, {duration(left)} left"
        )


class Report:
    """Prints a round's figures and hands them to the live curves."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def __call__(self, round_: dict[str, float]) -> None:
        """Takes the figures that `Classifier.figures` gives."""
        curves = {name: value for name, value in round_.items() if name not in ("step", "seconds")}
        self._live(curves, int(round_["step"]))
        print(
            f"epoch {round_['epoch']:g}: train loss {round_['train_loss']:.3f}, validation loss"
            f" {round_['validation_loss']:.3f}, accuracy {round_['validation_accuracy']:.3f},"
            f" macro-F1 {round_['validation_macro_f1']:.3f} ({duration(round_['seconds'])})",
            flush=True,
        )


def bar() -> list[Callback]:
    """Lightning's bar, where somebody watches."""
    return [TQDMProgressBar()] if sys.stdout.isatty() else []


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
