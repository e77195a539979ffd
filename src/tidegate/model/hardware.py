"""What a training runs on: the precision that suits it, its errors in plain words, its libraries kept quiet."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException

from tidegate.errors import ModelError
from tidegate.fitting import Fitting


def precision_of(wanted: str, accelerator: str) -> str:
    """What `auto` comes to: bfloat16 where the device computes in it, else float32."""
    if wanted != "auto":
        return wanted
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    fast = torch.cuda.is_bf16_supported() if on_gpu else _matrix_unit() and accelerator in ("auto", "cpu")
    return "bf16-mixed" if fast else "32-true"


@dataclass(frozen=True)
class Place:
    """Where a trained model answers, and whether it multiplies matrices in bfloat16."""

    device: torch.device
    low: bool = False

    def computing(self) -> AbstractContextManager[Any]:
        """What a model is called in."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.low else nullcontext()


CPU = Place(torch.device("cpu"))


def beside(settings: Fitting) -> Place:
    """Where and how models answer beside a training with these settings."""
    on_gpu = settings.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    low = precision_of(settings.precision, settings.accelerator).startswith("bf16")
    return Place(torch.device("cuda" if on_gpu else "cpu"), low)


def _matrix_unit() -> bool:
    """Whether the CPU multiplies bfloat16 matrices in hardware (AMX); others emulate it, slowly."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps Lightning from advertising and from advice that does not fit here."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    with warnings.catch_warnings():
        for pattern in (
            ".*does not have many workers.*",  # loading takes no time here: see data.loader
            ".*Checkpoint directory.*exists and is not empty.*",  # it does when a run is gone on with
            ".*in eval mode at the start of training.*",  # adapters keep the frozen parts so
            ".*treespec.*",  # of libraries among themselves
            ".*lr_scheduler.step.*before.*optimizer.step.*",  # raised when a checkpoint is loaded
        ):
            warnings.filterwarnings("ignore", pattern)
        yield


@contextmanager
def mended(section: str) -> Iterator[None]:
    """Turns what a user can mend in a section of params into a domain error.

    Raises:
        ModelError: for lack of memory, or hardware that is not there.
    """
    try:
        yield
    except MisconfigurationException as error:
        cause = str(error).strip().split("\n")[0].rstrip(".! ")
        raise ModelError(
            f"{section}.accelerator and {section}.devices", cause, "Set `auto` and 1, or what there is"
        ) from error
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
            remedy = "Raise `accumulate` (smaller parts of a batch), or lower `batch_size` or `max_length`"
            raise ModelError(section, "the memory is full", remedy) from error
        raise
