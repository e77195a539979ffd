"""How a training runs: the params that `train`, `distill` and `prune` share.

What is learnt from what is each stage's own matter.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from tidegate.params import Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """Steps, learning rate, choice of the best round, hardware."""

    epochs: Annotated[int, Range(ge=1, le=1000)]
    """Times every training row is seen, at most."""

    batch_size: Annotated[int, Range(ge=1)]
    """Rows an optimizer step, over all devices and parts."""

    accumulate: Annotated[int, Range(ge=1)]
    """Parts a batch is computed in, one after the other."""

    rounds: Annotated[int, Range(ge=1)]
    """Validations and checkpoints an epoch."""

    learning_rate: Annotated[float, Range(gt=0, le=1)]
    """At the end of the warm-up."""

    weight_decay: Annotated[float, Range(ge=0, lt=1)]
    """AdamW's, on matrices; norms and biases have none."""

    warmup: Annotated[float, Range(ge=0, lt=1)]
    """Share of the steps in which the learning rate rises."""

    schedule: Literal["linear", "cosine", "constant"]
    """How it falls afterwards."""

    clip: Annotated[float, Range(gt=0)] | None
    """Largest norm of a gradient."""

    metric: Literal["macro_f1", "accuracy", "loss"]
    """Of validation, by which the best round is chosen."""

    patience: Annotated[int, Range(ge=1)] | None
    """Rounds without a better one before training stops."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"]
    """Kind of device."""

    devices: Annotated[int, Range(ge=1)] | Literal["auto"]
    """Devices a node."""

    nodes: Annotated[int, Range(ge=1)]
    """Machines."""

    strategy: Literal["auto", "ddp", "ddp_spawn"]
    """How devices work together."""

    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true"]
    """Of the computation."""

    seed: Annotated[int, Range(ge=0, lt=2**31)]
    """Of first weights, the order of rows, dropout and augmentation."""

    def problems(self) -> Iterable[str]:
        """What does not go together."""
        if self.accumulate > self.batch_size:
            return [f"accumulate ({self.accumulate}) is larger than batch_size ({self.batch_size})"]
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Variants:
    """Texts made from the training texts, which the teacher labels."""

    copies: Annotated[int, Range(ge=0, le=100)]
    """Variants a text."""

    span: Annotated[float, Range(ge=0, le=1)]
    """Share of variants that are a run of the text's words, of random length."""

    replaced: Annotated[float, Range(ge=0, le=1)]
    """Share of words in place of which a word of another text stands."""

    dropped: Annotated[float, Range(ge=0, lt=1)]
    """Share of words left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Teaching(Fitting):
    """How a model is taught by another: what `distill` and `prune` share."""

    temperature: Annotated[float, Range(gt=0, le=100)]
    """Divides the logits of teacher and student before they are compared."""

    soft: Annotated[float, Range(ge=0, le=1)]
    """Weight of the teacher's logits; the labels have the rest."""

    hidden: Annotated[float, Range(ge=0)]
    """Weight of the hidden states: the first token's."""

    dropout: Annotated[float, Range(ge=0, lt=1)] | None
    """Probability while a model learns; null keeps the teacher's."""

    keep_embeddings: bool
    """Whether the embeddings stay as they are."""

    variants: Variants


def name_problems(key: str, names: Sequence[str]) -> Iterator[str]:
    """What keeps names from being those of models, and so of folders."""
    for name in names:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            yield f"{key}: a name is made of letters, digits and underscores, {name!r} is not"
        if name == "teacher":
            yield f"{key}: {name!r} is the name of the trained model"
    yield from (f"{key}: {name!r} stands there twice" for name in sorted({n for n in names if names.count(n) > 1}))


def spare_cores() -> None:
    """Has threads that wait sleep. To be called before torch is loaded, which reads it then.

    Threads that wait by spinning take the cores from whatever runs beside them, and from each other: on two shared
    cores a step took 1.5 to 3 times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
