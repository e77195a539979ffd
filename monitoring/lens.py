"""How rows become numbers that can be compared: counts, hashed pieces of text, and a few dimensions of meaning.

What is compared, and when it is too far apart, is in `signals` and `calibration`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
_WORD = r"\w+|[^\w\s]"
_BUCKETS = 2**14
_DIMENSIONS = 50


@dataclass(frozen=True)
class Ranked:
    """A column (n,) with what the Kolmogorov-Smirnov distance of any part of it needs, found once."""

    values: Floats
    order: NDArray[np.intp]
    """From the smallest value to the largest."""
    last: NDArray[np.intp]
    """Places in that order at which a value comes for the last time."""

    @classmethod
    def of(cls, values: Floats) -> "Ranked":
        """Sorts a column."""
        order = np.argsort(values, kind="stable")
        ordered = values[order]
        return cls(values, order, np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)))


@dataclass(frozen=True)
class Features:
    """n rows as numbers.

    Attributes:
        pieces_of_text: (n, buckets) sparse float32, 1 where a word or a run of three characters occurs in the text.
        meaning: (n, d) float32, latent semantic features, of about unit variance on the texts they were learned from.
        length: tokens a text.
        fertility: tokens a word: misspelt and foreign words fall into many.
        unknown: whether a token of the text is unknown to the tokenizer.
        predicted: (n,) the place of the predicted label in the label set; `labels` of them there are.
        confidence: the probability of the predicted label.
        surprise: (n, labels - 1) probabilities of all labels but the last, minus what `meaning` lets expect of them.
        groups: (n,) number of the document that a row belongs to, from 0.
    """

    pieces_of_text: Any
    meaning: NDArray[np.float32]
    length: Floats
    fertility: Floats
    unknown: Flags
    predicted: NDArray[np.intp]
    confidence: Floats
    surprise: Floats
    groups: NDArray[np.intp]
    labels: int

    def __len__(self) -> int:
        return len(self.length)

    @cached_property
    def ranked(self) -> dict[str, Ranked]:
        """The columns whose distributions are compared."""
        return {name: Ranked.of(getattr(self, name)) for name in ("length", "fertility", "confidence")}

    def beside(self, other: "Features") -> "Features":
        """These rows and then the other ones; no group is in both."""
        from scipy import sparse

        def both(name: str) -> Any:
            return np.concatenate([getattr(self, name), getattr(other, name)])

        groups = np.concatenate([self.groups, other.groups + self.groups.max() + 1])
        return Features(
            sparse.vstack([self.pieces_of_text, other.pieces_of_text], format="csr"), both("meaning"), both("length"),
            both("fertility"), both("unknown"), both("predicted"), both("confidence"), both("surprise"), groups,
            self.labels,
        )  # fmt: skip


class Lens:
    """Turns rows into features.

    Only `meaning`, and what it lets expect, are learned: latent semantic analysis (S. Deerwester et al., JASIS 41(6),
    1990), whitened. It needs no model, takes a second, and is the same whatever the champion is. What it is learned
    from must be neither window nor reference: rows that it was learned from lie otherwise than new ones, and every
    window would seem to drift.
    """

    def __init__(self, rows: "pl.DataFrame", labels: Sequence[str], *, seed: int) -> None:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer

        texts = rows["text"].to_list()
        same: dict[str, Any] = {
            "lowercase": False, "binary": True, "norm": None, "alternate_sign": False, "n_features": _BUCKETS,
            "dtype": np.float32,
        }  # fmt: skip
        self._hashed = (
            HashingVectorizer(analyzer="char_wb", ngram_range=(3, 3), **same),
            HashingVectorizer(token_pattern=_WORD, **same),
        )
        self._weights = TfidfVectorizer(sublinear_tf=True, min_df=2, token_pattern=_WORD)
        weighted = self._weights.fit_transform(texts)
        self._svd = TruncatedSVD(min(_DIMENSIONS, min(weighted.shape) - 1), random_state=seed).fit(weighted)
        found = self._svd.transform(weighted)
        values, vectors = np.linalg.eigh(np.cov(found.T))
        self._mean, self._whiten = found.mean(axis=0), vectors / np.sqrt(np.maximum(values, 1e-9))
        self._places = {label: place for place, label in enumerate(labels)}
        known = _with_ones(self._meaning(texts))
        ridge = known.T @ known + np.eye(known.shape[1])
        self._expected = np.linalg.solve(ridge, known.T @ _probabilities(rows))

    def _meaning(self, texts: Sequence[str]) -> Floats:
        return np.asarray((self._svd.transform(self._weights.transform(texts)) - self._mean) @ self._whiten)

    def features(self, rows: "pl.DataFrame") -> Features:
        """Rows of a reference or a window as numbers; a row without a document is one of its own."""
        from scipy import sparse

        texts = rows["text"].to_list()
        tokens = rows["tokens"].to_numpy().astype(np.float64)
        words = np.array([len(re.findall(_WORD, text)) for text in texts], dtype=np.float64)
        meaning, probabilities = self._meaning(texts), _probabilities(rows)
        return Features(
            pieces_of_text=sparse.hstack([one.transform(texts) for one in self._hashed], format="csr"),
            meaning=meaning.astype(np.float32),
            length=tokens,
            fertility=tokens / np.maximum(words, 1),
            unknown=rows["unknown"].to_numpy() > 0,
            predicted=np.array([self._places[label] for label in rows["label"].to_list()], dtype=np.intp),
            confidence=probabilities.max(axis=1),
            surprise=(probabilities - _with_ones(meaning) @ self._expected)[:, :-1],
            groups=groups_of(rows),
            labels=len(self._places),
        )


def _probabilities(rows: "pl.DataFrame") -> Floats:
    return np.array(rows["probabilities"].to_list(), dtype=np.float64)


def _with_ones(meaning: Floats) -> Floats:
    return np.column_stack([meaning, np.ones(len(meaning))])


def groups_of(rows: "pl.DataFrame") -> NDArray[np.intp]:
    """The number of the document of each row."""
    names = [f"d{name}" if name is not None else f"r{row}" for row, name in enumerate(rows["document"].to_list())]
    return np.asarray(np.unique(names, return_inverse=True)[1], dtype=np.intp)
