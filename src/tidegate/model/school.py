"""A teacher, its answers to all there is to learn from, and how models are taught by it.

What a row's loss is made of is in `distillation.py`, how a training runs in `training.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from tidegate.data import UNLABELLED, Batches, TokenDataset, Tokens
from tidegate.fitting import Teaching
from tidegate.model import anatomy, encoder, freezing, hardware, progress, reporting, scores, variation
from tidegate.model.distillation import Distiller, Objective, answers
from tidegate.model.training import fit

_BATCH = 64  # rows answered at once


@dataclass(frozen=True, slots=True, kw_only=True)
class School:
    """A teacher with its answers, and how models are taught by it."""

    section: str
    """Of the params that say how."""
    settings: Teaching
    teacher: PreTrainedModel
    answers: dict[str, NDArray[Any]]
    """To the training rows, as `distillation.answers` gives them."""
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
        freezing.freeze(model, embeddings=settings.keep_embeddings, layers=0)
        if settings.dropout is not None:
            anatomy.set_dropout(model, settings.dropout)
        aim = Objective(temperature=settings.temperature, soft=settings.soft, hidden=settings.hidden)
        module = Distiller(model, settings, section=self.section, objective=aim, taught_by=taught_by)
        live = progress.live(self.task, f"{self.section}-{name}-{self.key[:8]}")
        outcome = fit(module, batches, folder=self.folder / name, key=self.key, live=live)
        if outcome is None:
            return None
        report = reporting.report(outcome, model, taught, settings=settings)
        given = scores.logits(model, unseen, batch_size=_BATCH, place=hardware.beside(settings))
        agreement = float((given.argmax(axis=1) == self.validation_logits.argmax(axis=1)).mean())
        return report | {"parameters": module.sizes()[0], "history": outcome.history, "agreement": agreement}


def opened(
    teacher: Path, tokens: Path, texts: Sequence[Path], about: Mapping[str, Any], *, section: str, settings: Teaching,
    folder: Path, key: str,
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
    variation.write(texts, varied, settings.variants, seed=settings.seed)
    ids = encoder.encoded(teacher, [varied])
    Tokens.write(folder / "variants.arrow", ids, np.full(len(ids), UNLABELLED))
    rows = Tokens(tokens / "train.arrow", tokens / "unlabelled.arrow", folder / "variants.arrow")
    train = TokenDataset(rows, pad=pad)
    validation = TokenDataset(Tokens(tokens / "validation.arrow"), pad=pad)
    return School(
        section=section, settings=settings, teacher=model, train=train, validation=validation,
        answers=answers(model, train, settings=settings, folder=folder / "answers", key=key),
        validation_logits=scores.logits(model, validation, batch_size=_BATCH, place=hardware.beside(settings)),
        folder=folder, key=key, task=about["task"], texts=[*texts, varied],
    )  # fmt: skip
