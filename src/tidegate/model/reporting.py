"""What is told of a training that ended: its figures, the gap between train and validation, its curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from tidegate import files
from tidegate.data import UNLABELLED, TokenDataset
from tidegate.model import scores
from tidegate.model.checkpoints import Round
from tidegate.model.training import Outcome

_CURVES = (
    "epoch", "step", "train_loss", "validation_loss", "validation_accuracy", "validation_macro_f1", "learning_rate",
)  # fmt: skip
_BATCH = 64  # rows evaluated at once


def report(
    outcome: Outcome, model: nn.Module, train: TokenDataset, validation: TokenDataset, *, seed: int
) -> dict[str, Any]:
    """What `training.json` holds of the best weights.

    The train figures are of as many rows as validation has, in eval mode and without augmentation too, so that
    the gap between the two shows overfitting and nothing else.
    """
    labelled = np.flatnonzero(train.tokens.labels != UNLABELLED)
    drawn = np.random.default_rng(seed).permutation(len(labelled))[: len(validation.tokens)]
    sample = np.sort(labelled[drawn])
    seen = scores.measure(model, train, batch_size=_BATCH, rows=sample, device=outcome.device)
    unseen = scores.measure(model, validation, batch_size=_BATCH, device=outcome.device)
    gap = {name: seen[name] - unseen[name] for name in ("accuracy", "macro_f1")}
    print(
        f"validation ({len(validation.tokens):,} rows): accuracy {unseen['accuracy']:.3f}, macro-F1"
        f" {unseen['macro_f1']:.3f}; train minus validation: {gap['accuracy']:+.3f}, {gap['macro_f1']:+.3f}"
    )
    last, best = outcome.history[-1], outcome.history[outcome.best]
    return {
        "epochs": _whole(last["epoch"]),
        "best_epoch": _whole(best["epoch"]),
        "steps": int(last["step"]),
        "rows": len(train.tokens),
        "device": outcome.device,
        "precision": outcome.precision,
        "seconds": last["seconds"],
        "train": seen,
        "validation": unseen,
        "gap": gap,
        "stopped": outcome.stopped,
    }


def _whole(epochs: float) -> float | int:
    return int(epochs) if epochs.is_integer() else epochs


def write_curves(path: Path, history: Sequence[Round]) -> None:
    """Writes `curves.csv`: a line a round."""
    lines = [",".join(_CURVES), *(",".join(f"{round_[name]:.6g}" for name in _CURVES) for round_ in history)]
    with files.replacing(path) as draft:
        draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
