"""The figures a training is steered by: loss, accuracy, macro-F1 from counts that several processes can add up.

Intervals and all that a report needs are in `scoring.py`.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tidegate.data import SortedSampler, TokenDataset, loader
from tidegate.model.hardware import CPU, Place


def tally(logits: Tensor, labels: Tensor) -> Tensor:
    """Sums over the rows, on the CPU in float64: the confusion matrix (actual x predicted), flat, then the loss."""
    count = logits.shape[1]
    cells = torch.bincount(labels * count + logits.argmax(dim=1), minlength=count * count)
    loss = functional.cross_entropy(logits, labels, reduction="sum")
    return torch.cat([cells.double().cpu(), loss.double().cpu().reshape(1)])


def figures(tallied: Tensor) -> dict[str, float]:
    """`loss` (natural logarithm, mean a row), `accuracy` and `macro_f1` (over all labels; 0 for one never seen)."""
    count = int((len(tallied) - 1) ** 0.5)
    confusion = tallied[:-1].reshape(count, count).double()
    right = confusion.diagonal()
    f1 = 2 * right / (confusion.sum(0) + confusion.sum(1)).clamp(min=1)
    rows = confusion.sum().clamp(min=1)
    return {
        "loss": float(tallied[-1] / rows),
        "accuracy": float(right.sum() / rows),
        "macro_f1": float(f1.mean()),
    }


def measure(
    model: nn.Module, dataset: TokenDataset, *, batch_size: int, rows: NDArray[np.int64] | None = None,
    place: Place = CPU,
) -> dict[str, float]:  # fmt: skip
    """The figures of a model in eval mode on some rows (all, where not given)."""
    found = torch.from_numpy(logits(model, dataset, batch_size=batch_size, rows=rows, place=place))
    labels = torch.from_numpy(dataset.tokens.labels)
    return figures(tally(found, labels if rows is None else labels[torch.from_numpy(rows)]))


@torch.inference_mode()
def logits(
    model: nn.Module,
    dataset: TokenDataset,
    *,
    batch_size: int,
    rows: NDArray[np.int64] | None = None,
    place: Place = CPU,
) -> NDArray[np.float32]:
    """The model's logits in eval mode, (rows, labels) float32, in the order of `rows` (all, where not given)."""
    rows = np.arange(len(dataset.tokens)) if rows is None else rows
    turns = {int(row): turn for turn, row in enumerate(rows)}
    parts: list[NDArray[np.float32]] = []
    order: list[int] = []
    model.eval().to(place.device)
    for batch in loader(dataset, SortedSampler(dataset.tokens.lengths, batch_size=batch_size, rows=rows)):
        ids, mask = batch["input_ids"].to(place.device), batch["attention_mask"].to(place.device)
        with place.computing():
            found = model(input_ids=ids, attention_mask=mask)
        parts.append(found.logits.float().cpu().numpy())
        order.extend(turns[int(row)] for row in batch["rows"])
    result = np.empty((len(rows), parts[0].shape[1]), dtype=np.float32)
    result[order] = np.concatenate(parts)
    return result
