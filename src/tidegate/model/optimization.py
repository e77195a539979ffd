"""The pure parts of an optimizer: what decays, how the learning rate moves, what a label's row counts."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trainable matrices with weight decay; trainable vectors, so norms and biases, without."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = (
        {"params": [parameter for parameter in trainable if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trainable if parameter.ndim < 2], "weight_decay": 0.0},
    )
    return [group for group in groups if group["params"]]


def schedule(steps: int, *, warmup: float, shape: str) -> Callable[[int], float]:
    """The factor on the learning rate by step: up in a line over the share `warmup`, then down to 0 by `shape`.

    `shape` is `linear`, `cosine` or `constant` (which stays up).
    """
    rising = max(1, round(steps * warmup)) if warmup else 0

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        done = min(1.0, (step - rising) / max(1, steps - rising))
        return {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2, "constant": 1.0}[shape]

    return factor


def class_weights(labels: Tensor, count: int, *, balanced: bool) -> Tensor:
    """(count,) weights: all 1, or inverse to the labels' shares, so that each label counts the same in sum."""
    if not balanced:
        return torch.ones(count)
    return len(labels) / (count * torch.bincount(labels, minlength=count).clamp(min=1).float())
