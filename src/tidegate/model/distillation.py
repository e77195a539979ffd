"""A student learns from a teacher: it is built from the teacher's own layers, and taught by logits and hidden states.

The teacher answers once, before the training (`answers`), and not in each epoch. How a training runs is in
`training.py`.
"""

import copy
from collections.abc import Mapping, Sequence
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

from tidegate.data import UNLABELLED, Batches, SortedSampler, TokenDataset, Tokens, loader
from tidegate.errors import ModelError
from tidegate.fitting import Fitting, Variants
from tidegate.model import anatomy, encoder, hardware, progress, reporting, scores, variation
from tidegate.model.training import Classifier, fit

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


@dataclass(frozen=True, slots=True, kw_only=True)
class School:
    """A teacher with its answers, and how models are taught by it."""

    section: str
    """Of the params that say how."""
    settings: Fitting
    objective: Objective
    dropout: float | None
    """Probability while a model learns; None keeps the teacher's."""
    keep_embeddings: bool
    """Whether the table of words, which is most of a small model, stays as the teacher has it: a faster step."""
    teacher: PreTrainedModel
    answers: dict[str, NDArray[Any]]
    """To the training rows, as `answers` gives them."""
    train: TokenDataset
    """The training rows as the teacher reads them; these and the answers belong together row by row."""
    texts: list[Path]
    """The files with the texts of these rows: train, unlabelled, variants."""
    validation: TokenDataset
    validation_logits: NDArray[np.float32]
    """The teacher's, (rows, labels)."""
    folder: Path
    """Where killed runs are gone on from."""
    key: str
    """Digest of all that shapes the run."""
    task: str

    @property
    def last_layer(self) -> list[int]:
        """What teaches a model by its last layer alone."""
        return [len(anatomy.layer_stack(self.teacher)) - 1]

    def teach(
        self, model: PreTrainedModel, name: str, *, taught_by: Sequence[int], rows: tuple[Tokens, Tokens] | None = None
    ) -> dict[str, Any] | None:
        """Teaches a model, and leaves its best weights in it.

        Args:
            rows: training and validation rows as the model reads them, where it has another tokenizer.

        Returns:
            What `training.json` holds, with the curves as `history` and the share of validation rows to which the
            model gives the teacher's label as `agreement`. None on every process but the first.
        """
        settings, pad = self.settings, model.config.pad_token_id or 0
        train, validation = rows or (self.train.tokens, self.validation.tokens)
        taught, unseen = TokenDataset(train, pad=pad, targets=self.answers), TokenDataset(validation, pad=pad)
        batches = Batches(
            taught, unseen, batch_size=settings.batch_size, accumulate=settings.accumulate, rounds=settings.rounds,
            seed=settings.seed,
        )  # fmt: skip
        encoder.freeze(model, embeddings=self.keep_embeddings, layers=0)
        if self.dropout is not None:
            anatomy.set_dropout(model, self.dropout)
        module = Distiller(model, settings, section=self.section, objective=self.objective, taught_by=taught_by)
        live = progress.live(self.task, f"{self.section}-{name}-{self.key[:8]}")
        outcome = fit(module, batches, folder=self.folder / name, key=self.key, live=live)
        if outcome is None:
            return None
        report = reporting.report(outcome, model, taught, settings=settings)
        given = scores.logits(model, unseen, batch_size=_BATCH, place=hardware.beside(settings))
        agreement = float((given.argmax(axis=1) == self.validation_logits.argmax(axis=1)).mean())
        return report | {"parameters": module.sizes()[0], "history": outcome.history, "agreement": agreement}


def school(
    teacher: Path, tokens: Path, texts: Sequence[Path], about: Mapping[str, Any], *, section: str, settings: Fitting,
    objective: Objective, dropout: float | None, keep_embeddings: bool, variants: Variants, folder: Path, key: str,
) -> School:  # fmt: skip
    """Has the teacher answer to all training rows, labelled or not, and to variants of them.

    Args:
        teacher: its folder.
        tokens: the folder of the token files.
        texts: the files with the texts of train and unlabelled.
        about: the content of `task.json`.
    """
    model = encoder.load(teacher, about["labels"], trained=True)
    pad, varied = model.config.pad_token_id or 0, folder / "variants.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    variation.write(texts, varied, variants, seed=settings.seed)
    ids = encoder.encoded(teacher, [varied])
    Tokens.write(folder / "variants.arrow", ids, np.full(len(ids), UNLABELLED))
    rows = Tokens(tokens / "train.arrow", tokens / "unlabelled.arrow", folder / "variants.arrow")
    train = TokenDataset(rows, pad=pad)
    validation = TokenDataset(Tokens(tokens / "validation.arrow"), pad=pad)
    return School(
        section=section, settings=settings, objective=objective, dropout=dropout,
        keep_embeddings=keep_embeddings, teacher=model, train=train, validation=validation,
        answers=answers(model, train, settings=settings, folder=folder / "answers", key=key),
        validation_logits=scores.logits(model, validation, batch_size=_BATCH, place=hardware.beside(settings)),
        folder=folder, key=key, task=about["task"], texts=[*texts, varied],
    )  # fmt: skip
