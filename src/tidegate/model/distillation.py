"""A student learns from a teacher: it is built from the teacher's own layers, and taught by logits and hidden states.

The teacher answers once, before the training (`answers`), and not in each epoch. How all this becomes a training is in
`school.py`.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from typing_extensions import override

from tidegate.data import UNLABELLED, SortedSampler, TokenDataset, loader
from tidegate.errors import ModelError
from tidegate.fitting import Fitting
from tidegate.model import anatomy, hardware
from tidegate.model.training import Classifier

_BATCH = 64  # rows the teacher answers at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What a row's loss is made of."""

    temperature: float
    """Divides the logits of both before they are compared."""
    soft: float
    """Weight of the teacher's logits, 0 to 1; the labels have the rest."""
    hidden: float
    """Weight of the hidden states."""


def student(teacher: PreTrainedModel, layers: Sequence[int]) -> PreTrainedModel:
    """A copy of the teacher that has just these of its layers (0 is the lowest), in this order, and its head.

    Raises:
        ModelError: the teacher lacks such a layer.
    """
    count = len(anatomy.layer_stack(teacher))
    if wrong := [layer for layer in layers if layer >= count]:
        cause = f"names layer {wrong[0]}, and the teacher has the layers 0 to {count - 1}"
        raise ModelError("distill.students", cause, "Name layers that there are")
    model = copy.deepcopy(teacher)
    stack = anatomy.layer_stack(model)
    kept = [stack[layer] for layer in layers]
    del stack[:]
    stack.extend(kept)
    model.config.num_hidden_layers = len(kept)
    return model


def matched(layers: Sequence[int], count: int) -> list[int]:
    """Which layers of a teacher with `count` layers a student's are taught by.

    A student's layer was the teacher's layer `layers[i]`, and takes over what lies between it and the next: it is
    taught the states just before the next kept layer begins; the last one those of the teacher's last layer.
    """
    return [*(following - 1 for following in layers[1:]), count - 1]


@torch.inference_mode()
def answers(
    teacher: PreTrainedModel, dataset: TokenDataset, *, settings: Fitting, folder: Path, key: str
) -> dict[str, NDArray[Any]]:
    """The teacher's answers in eval mode to all rows of `dataset`, on the device and in the precision of a training.

    Written below `folder`, and read from there where a killed run of the same key left them whole.

    Returns:
        `teacher_logits`, (rows, labels) float32, and `teacher_states`, (rows, layers, width) float16 mapped into
        memory: the first token's hidden state after each layer. Targets of a `TokenDataset`.
    """
    mark, logits, states = folder / "whole", folder / "logits.npy", folder / "states.npy"
    if not (mark.is_file() and mark.read_text(encoding="utf-8") == key):
        mark.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        _answer(teacher, dataset, settings, logits, states)
        mark.write_text(key, encoding="utf-8")
    return {"teacher_logits": np.load(logits), "teacher_states": np.load(states, mmap_mode="r")}


def _answer(teacher: PreTrainedModel, dataset: TokenDataset, settings: Fitting, logits: Path, states: Path) -> None:
    stack, rows = list(anatomy.layer_stack(teacher)), len(dataset.tokens)
    given = np.empty((rows, len(teacher.config.id2label or {})), dtype=np.float32)
    shape = (rows, len(stack), teacher.config.hidden_size)
    found = open_memmap(states, mode="w+", dtype=np.float16, shape=shape)
    place = hardware.beside(settings)
    teacher.eval().to(place.device)  # type: ignore[no-untyped-call]
    with FirstStates(stack) as firsts, place.computing():
        for batch in loader(dataset, SortedSampler(dataset.tokens.lengths, batch_size=_BATCH)):
            ids, mask = batch["input_ids"].to(place.device), batch["attention_mask"].to(place.device)
            given[batch["rows"].numpy()] = teacher(input_ids=ids, attention_mask=mask).logits.float().cpu().numpy()
            found[batch["rows"].numpy()] = firsts.stacked().half().cpu().numpy()
    found.flush()
    np.save(logits, given)
    teacher.to("cpu")  # type: ignore[arg-type]


class FirstStates:
    """Takes the first token's hidden state as it leaves each of some layers, while it is entered."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._layers = layers
        self._states: list[Tensor] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> "FirstStates":
        self._hooks = [layer.register_forward_hook(self._take) for layer in self._layers]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _take(self, _: nn.Module, __: Any, output: Tensor | tuple[Tensor, ...]) -> None:
        hidden = output if isinstance(output, Tensor) else output[0]
        self._states.append(hidden[:, 0])

    def stacked(self) -> Tensor:
        """(rows, layers, width) of the last call of the model."""
        found, self._states = torch.stack(self._states, dim=1), []
        return found


def soft_loss(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """(rows,): the divergence of the student's distribution from the teacher's, both softened, times temperature².

    Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network. arXiv:1503.02531, section 2.
    """
    given = functional.log_softmax(logits / temperature, dim=1)
    wanted = functional.log_softmax(taught / temperature, dim=1)
    return functional.kl_div(given, wanted, reduction="none", log_target=True).sum(dim=1) * temperature**2


def hidden_loss(states: Tensor, taught: Tensor) -> Tensor:
    """(rows,): the squared distance of the first token's states, each scaled to length 1, averaged over the layers.

    Sun et al.: Patient Knowledge Distillation for BERT Model Compression. arXiv:1908.09355, equation 7.

    Args:
        states: (rows, layers, width), as taught.
    """
    apart = functional.normalize(states, dim=-1) - functional.normalize(taught, dim=-1)
    return apart.square().sum(dim=-1).mean(dim=-1)


class Distiller(Classifier):
    """A classifier that is taught; its batches hold the targets that `answers` gives.

    Args:
        taught_by: by layer of the model, from the last one down, which of the teacher's layers teaches it. Fewer
            than the model has leave its lowest layers untaught.
    """

    def __init__(
        self, model: PreTrainedModel, settings: Fitting, *, section: str, objective: Objective, taught_by: Sequence[int]
    ) -> None:
        labels = len(model.config.id2label or {})
        super().__init__(model, settings, section=section, weights=torch.ones(labels))
        self.objective = objective
        self.taught_by = list(taught_by)
        self._firsts = FirstStates(list(anatomy.layer_stack(model))[-len(taught_by) :])
        self._states = torch.zeros(0)

    @override
    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        with self._firsts as firsts:
            found = super().logits(batch)
            self._states = firsts.stacked().float()
        return found

    @override
    def losses(self, batch: dict[str, Tensor], logits: Tensor) -> Tensor:
        aim, labels = self.objective, batch["labels"]
        hard = super().losses(batch | {"labels": labels.clamp(min=0)}, logits) * (labels != UNLABELLED)
        soft = soft_loss(logits, batch["teacher_logits"], aim.temperature)
        apart = hidden_loss(self._states, batch["teacher_states"][:, self.taught_by].float())
        return (1 - aim.soft) * hard + aim.soft * soft + aim.hidden * apart
