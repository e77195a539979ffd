"""Which heads and neurons matter least: first-order (Taylor) importance on training data.

How they are removed is in `anatomy.py`, how the model recovers in `distillation.py`.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from tidegate.data import SortedSampler, TokenDataset, loader
from tidegate.errors import ModelError
from tidegate.model import anatomy


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """How much the loss would change without a part, to first order; larger is more."""

    heads: NDArray[np.float64]
    """(layers, heads)"""
    neurons: NDArray[np.float64]
    """(layers, neurons)"""


def importance(
    model: PreTrainedModel, dataset: TokenDataset, rows: NDArray[np.int64], *, batch_size: int, device: torch.device
) -> Importance:
    """The mean over rows of |sum over tokens of activation x gradient of the loss|, for heads and for neurons.

    Taylor criterion: Molchanov et al., arXiv:1611.06440, equation 8; for heads Michel et al., arXiv:1905.10650,
    equation 2. In eval mode, so that no dropout blurs it.
    """
    model.eval().to(device)  # type: ignore[no-untyped-call]
    size, layers = anatomy.head_size(model), anatomy.layers(model)
    heads = torch.zeros(len(layers), layers[0].mixed.in_features // size, dtype=torch.float64)
    neurons = torch.zeros(len(layers), layers[0].narrowing.in_features, dtype=torch.float64)
    for batch in loader(dataset, SortedSampler(dataset.tokens.lengths, batch_size=batch_size, rows=rows)):
        with _Inputs([layer.mixed for layer in layers]) as mixed, _Inputs([one.narrowing for one in layers]) as narrow:
            given = model(input_ids=batch["input_ids"].to(device), attention_mask=batch["attention_mask"].to(device))
            loss = functional.cross_entropy(given.logits, batch["labels"].to(device), reduction="sum")
            loss.backward()  # type: ignore[no-untyped-call]
        for place, taken in enumerate(mixed.effects()):
            heads[place] += taken.reshape(len(taken), -1, size).sum(dim=2).abs().sum(dim=0).double().cpu()
        for place, taken in enumerate(narrow.effects()):
            neurons[place] += taken.abs().sum(dim=0).double().cpu()
        model.zero_grad(set_to_none=True)
    model.to("cpu")  # type: ignore[arg-type]
    return Importance(heads=(heads / len(rows)).numpy(), neurons=(neurons / len(rows)).numpy())


class _Inputs:
    """Keeps what goes into some linear layers and, after the backward pass, its gradient, while it is entered."""

    def __init__(self, parts: Sequence[nn.Linear]) -> None:
        self._parts = parts
        self._taken: list[Tensor] = []
        self._stack = ExitStack()

    def __enter__(self) -> "_Inputs":
        for part in self._parts:
            self._stack.callback(part.register_forward_pre_hook(self._take).remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _take(self, _: nn.Module, given: tuple[Any, ...]) -> None:
        given[0].retain_grad()
        self._taken.append(given[0])

    def effects(self) -> list[Tensor]:
        """By part (rows, width): activation x gradient, summed over the tokens."""
        found = [taken.detach() * taken.grad for taken in self._taken if taken.grad is not None]
        return [one.sum(dim=1) for one in found]


def strongest(scores: NDArray[np.float64], count: int, *, what: str) -> list[list[int]]:
    """By layer the indices of the `count` most important parts, ascending; of equals the first.

    Args:
        scores: (layers, parts).
        what: the key of params that asks for `count`, for the message.

    Raises:
        ModelError: a layer has fewer parts.
    """
    if count > scores.shape[1]:
        raise ModelError(what, f"is {count}, and a layer has {scores.shape[1]}", "Lower it, or set it to null")
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return [sorted(map(int, row)) for row in ranked]
