"""One package's answers with all that the log wants to know of them; which package answers is decided elsewhere."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tidegate.package import Package, softmax
from tidegate.text import Normalization, normalize

_RUNTIME_BATCH = 4
"""Texts of like length that the runtime takes at once. On one CPU a call costs little and padding much: of 2 to 32 this
was the cheapest for calls of 8 to 64 texts of the default data."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says of one text."""

    model: "Model"
    text: str
    """Normalized and masked, as the model saw it."""
    probabilities: list[float]
    """In the order of the model's labels."""
    tokens: int
    """Special ones included, after the cut."""
    unknown: int
    """Of them, those that the vocabulary does not know."""

    @property
    def label(self) -> str:
        """The most probable label, the first of equals."""
        return self.model.package.labels[self.probabilities.index(max(self.probabilities))]


@dataclass(frozen=True)
class Model:
    """A loaded package and the number it is registered under; None where it is not."""

    package: Package
    version: int | None

    @property
    def digest(self) -> str:
        """The digest of the package."""
        return self.package.digest

    def answers(self, texts: Sequence[str]) -> list[Answer]:
        """One answer a raw text; the probabilities are those of `Package.predict`."""
        tokens = self.package.encode(texts)
        probabilities = self._probabilities(tokens).tolist()
        unknown = self._unknown
        return [
            Answer(self, self.prepared(text), row, len(ids), ids.count(unknown) if unknown is not None else 0)
            for text, row, ids in zip(texts, probabilities, tokens, strict=True)
        ]

    def prepared(self, text: str) -> str:
        """A raw text as the model sees it and as it may be kept: normalized, masked, and text that any store takes."""
        kept = normalize(text, self._normalization).replace("\x00", " ")
        return kept if kept.isascii() else kept.encode("utf-8", "replace").decode("utf-8")

    def _probabilities(self, tokens: list[list[int]]) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
        # As `Package.predict`, which gives no token ids; to tokenize twice would cost a quarter of the throughput.
        order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
        logits = np.empty((len(tokens), len(self.package.labels)))
        for start in range(0, len(order), _RUNTIME_BATCH):
            rows = order[start : start + _RUNTIME_BATCH]
            logits[rows] = self.package._run([tokens[row] for row in rows])
        return softmax(logits / self.package.metadata["temperature"])

    @cached_property
    def _normalization(self) -> Normalization:
        return Normalization.from_json(self.package.metadata["normalization"])

    @cached_property
    def _unknown(self) -> int | None:
        model = json.loads((self.package.folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
        if model.get("unk_id") is not None:
            return int(model["unk_id"])
        return self.package._tokenizer.token_to_id(model["unk_token"]) if model.get("unk_token") else None
