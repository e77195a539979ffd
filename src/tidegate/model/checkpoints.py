"""What survives a kill: the state at the end of each round, the best weights so far, and the run's history.

A checkpoint belongs to one key (the digest of all that shaped the run); another run's is discarded.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from safetensors.torch import load_file, save_file
from torch import Tensor
from typing_extensions import override

Round = dict[str, float]
"""The figures of one round, the columns of `curves.csv`."""

_LOWER_IS_BETTER = frozenset({"loss"})


def prepare(folder: Path, key: str) -> Path | None:
    """Makes the folder ready for the run `key`; gives the checkpoint to go on from, if there is one."""
    mark, last = folder / "key", folder / "last.ckpt"
    if folder.exists() and not (mark.is_file() and mark.read_text(encoding="utf-8") == key):
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(key, encoding="utf-8")
    if not last.is_file():
        return None
    try:
        torch.load(last, map_location="meta", weights_only=True, mmap=True)
    except Exception as error:  # whatever is wrong with it, it cannot be gone on from
        print(f"The checkpoint {last.name} is damaged ({str(error).splitlines()[0]}); training starts anew.")
        last.unlink()
        return None
    return last


def best_round(history: Sequence[Round], metric: str) -> int:
    """The index of the best round by a validation metric; of equals the first."""
    sign = -1 if metric in _LOWER_IS_BETTER else 1
    return max(range(len(history)), key=lambda index: (sign * history[index][f"validation_{metric}"], -index))


def stalled(history: Sequence[Round], metric: str, patience: int | None) -> bool:
    """Whether the last `patience` rounds brought nothing better than what was before them."""
    return patience is not None and bool(history) and len(history) - 1 - best_round(history, metric) >= patience


class Keeper(Checkpoint):
    """Ends each round: notes its figures, keeps the best weights, saves the state, stops when nothing improves.

    Args:
        folder: where `last.ckpt` and `best.safetensors` are kept.
        metric: of `accuracy`, `macro_f1`, `loss`, on validation.
        patience: rounds without an improvement before it stops; None: never.
        report: is handed each round's figures, on the first process.
    """

    def __init__(self, folder: Path, *, metric: str, patience: int | None, report: Callable[[Round], None]) -> None:
        self._folder, self._metric, self._patience, self._report = folder, metric, patience, report
        self.history: list[Round] = []

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = list(state_dict["history"])

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = stalled(self.history, self._metric, self._patience)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.history.append(pl_module.figures())  # type: ignore[operator]
        if best_round(self.history, self._metric) == len(self.history) - 1:
            weights = trainer.strategy.lightning_module_state_dict()
            if trainer.is_global_zero:
                save_weights(self._folder / "best.safetensors", weights)
        # After the weights: a kill in between repeats the round, which gives the same weights again.
        trainer.save_checkpoint(self._folder / "last.ckpt")
        if trainer.is_global_zero:
            self._report(self.history[-1])
        trainer.should_stop = trainer.should_stop or stalled(self.history, self._metric, self._patience)


def save_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Writes weights whole or not at all."""
    draft = path.with_suffix(".draft")
    save_file({name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}, draft)
    draft.replace(path)


def load_weights(path: Path) -> dict[str, Tensor]:
    """What `save_weights` wrote, on the CPU."""
    weights: dict[str, Tensor] = load_file(path)
    return weights


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it: Lightning's own way goes through the system's
    temporary folder, which may be another disk, and so may leave half a file.
    """

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        target = Path(path)
        draft = target.with_suffix(".draft")
        torch.save(checkpoint, draft)
        draft.replace(target)


def history(path: Path) -> list[Round]:
    """The rounds that a checkpoint remembers."""
    states = torch.load(path, map_location="meta", weights_only=True, mmap=True)["callbacks"]
    return next(list(state["history"]) for state in states.values() if "history" in state)
