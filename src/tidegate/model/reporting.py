"""What is told of a training that ended: its figures, the gap between train and validation, its curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from tidegate import files
from tidegate.data import UNLABELLED, TokenDataset
from tidegate.fitting import Fitting
from tidegate.model import hardware, scores
from tidegate.model.checkpoints import Round
from tidegate.model.training import Outcome

_CURVES = (
    "epoch", "step", "train_loss", "validation_loss", "validation_accuracy", "validation_macro_f1", "learning_rate",
)  # fmt: skip
_BATCH = 64  # rows evaluated at once
_SAMPLE = 2_000  # training rows that the gap is measured on


def report(outcome: Outcome, model: nn.Module, train: TokenDataset, *, settings: Fitting) -> dict[str, Any]:
    """What `training.json` holds of the best weights.

    The train figures are of a sample, in eval mode, without augmentation and in the precision in which validation was
    measured, so that the gap between the two shows overfitting and nothing else.
    """
    last, best = outcome.history[-1], outcome.history[outcome.best]
    labelled = np.flatnonzero(train.tokens.labels != UNLABELLED)
    sample = np.sort(np.random.default_rng(settings.seed).permutation(labelled)[:_SAMPLE])
    seen = scores.measure(model, train, batch_size=_BATCH, rows=sample, place=hardware.beside(settings))
    unseen = {name: best[f"validation_{name}"] for name in seen}
    gap = {name: seen[name] - unseen[name] for name in ("accuracy", "macro_f1")}
    print(
        f"validation: accuracy {unseen['accuracy']:.3f}, macro-F1 {unseen['macro_f1']:.3f}; train minus validation,"
        f" of {len(sample):,} rows: {gap['accuracy']:+.3f}, {gap['macro_f1']:+.3f}"
    )
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
