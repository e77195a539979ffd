"""The linear classifier over TF-IDF that a transformer has to beat: features, models, temperature.

Pure functions of texts and labels; which of them is the best is chosen on validation by `choose`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from tidegate.errors import DataError
from tidegate.evidence import calibration
from tidegate.evidence.statistics import Floats

Features = Literal["words", "characters", "both"]
Kind = Literal["svm", "logistic"]
Weighting = Literal["none", "balanced"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """How texts become features."""

    word_ngrams: tuple[int, int]
    """Shortest and longest run of words."""
    character_ngrams: tuple[int, int]
    """Shortest and longest run of characters within a word."""
    minimum_texts: int
    """Texts of the training rows that a feature has to occur in."""
    maximum: int
    """Features of either kind; the most frequent ones are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One point of the grid."""

    features: Features
    model: Kind
    c: float
    class_weight: Weighting


@dataclass(frozen=True)
class Fitted:
    """A model on its features, with the temperature that makes probabilities of its decision values."""

    choice: Choice
    vectorizers: tuple[TfidfVectorizer, ...]
    model: Any
    labels: int
    temperature: float = 1.0

    def decide(self, texts: Sequence[str]) -> Floats:
        """Decision values (n, labels); minus infinity for a label that the training rows do not have."""
        return _decide(self.model, _stacked([v.transform(texts) for v in self.vectorizers]), self.labels)

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """(n, labels): softmax of the decision values over the temperature."""
        return calibration.probabilities(self.decide(texts), self.temperature)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Texts (n,) with their labels (n,), as indexes into the label set."""

    texts: list[str]
    labels: NDArray[np.int64]


def choose(
    train: Labelled,
    validation: Labelled,
    *,
    vocabulary: Vocabulary,
    grid: Sequence[Choice],
    labels: int,
    seed: int,
    score: Callable[[NDArray[np.int64], NDArray[np.int64]], dict[str, float]],
    by: str,
) -> tuple[Fitted, list[dict[str, Any]]]:
    """Fits every point of the grid on train and keeps the one that scores best on validation, the first on a tie.

    Args:
        score: figures of (actual, predicted) labels.
        by: the figure that decides.

    Returns:
        The best one, with its temperature, and what every point scored.

    Raises:
        DataError: the training texts leave no feature.
    """
    best: Fitted | None = None
    tried: list[dict[str, Any]] = []
    for fitted, matrix in _fitted(train, validation, vocabulary, grid, labels, seed):
        values = _decide(fitted.model, matrix, labels)
        tried.append({**asdict(fitted.choice), **score(validation.labels, values.argmax(axis=1))})
        if tried[-1][by] > max((row[by] for row in tried[:-1]), default=-1.0):
            best = Fitted(
                fitted.choice,
                fitted.vectorizers,
                fitted.model,
                labels,
                calibration.temperature(values, validation.labels),
            )
    if best is None:
        raise ValueError("the grid is empty")
    return best, tried


def _fitted(
    train: Labelled, validation: Labelled, vocabulary: Vocabulary, grid: Sequence[Choice], labels: int, seed: int
) -> Iterator[tuple[Fitted, csr_matrix]]:
    """Each kind of feature is made once, for all points of the grid that use it."""
    made = {kind: _vectorized(kind, vocabulary, train.texts, validation.texts) for kind in _kinds(grid)}
    for choice in grid:
        parts = [made[kind] for kind in _parts(choice.features)]
        model = _model(choice, seed).fit(_stacked([part[1] for part in parts]), train.labels)
        yield (
            Fitted(choice, tuple(part[0] for part in parts), model, labels),
            _stacked([part[2] for part in parts]),
        )


def _parts(features: Features) -> list[str]:
    return ["words", "characters"] if features == "both" else [features]


def _kinds(grid: Sequence[Choice]) -> list[str]:
    return sorted({kind for choice in grid for kind in _parts(choice.features)})


def _vectorized(
    kind: str, vocabulary: Vocabulary, train: list[str], validation: list[str]
) -> tuple[TfidfVectorizer, csr_matrix, csr_matrix]:
    words = kind == "words"
    vectorizer = TfidfVectorizer(
        analyzer="word" if words else "char_wb",
        ngram_range=vocabulary.word_ngrams if words else vocabulary.character_ngrams,
        token_pattern=r"(?u)\b\w+\b|[^\w\s]" if words else None,
        min_df=vocabulary.minimum_texts,
        max_features=vocabulary.maximum,
        sublinear_tf=True,
        dtype=np.float64,
    )
    try:
        return vectorizer, vectorizer.fit_transform(train), vectorizer.transform(validation)
    except ValueError as error:  # no feature is left; nothing else of the input can be wrong here
        what = f"the {kind} of {len(train):,} training texts"
        raise DataError(what, "leave no feature", "Lower baseline.minimum_texts, or take more rows") from error


def _stacked(parts: Sequence[csr_matrix]) -> csr_matrix:
    return parts[0] if len(parts) == 1 else hstack(parts, format="csr")


def _model(choice: Choice, seed: int) -> Any:
    weight = None if choice.class_weight == "none" else "balanced"
    if choice.model == "svm":
        return LinearSVC(C=choice.c, class_weight=weight, random_state=seed, max_iter=5000)
    return LogisticRegression(C=choice.c, class_weight=weight, max_iter=1000)


def _decide(model: Any, matrix: csr_matrix, labels: int) -> Floats:
    values = np.asarray(model.decision_function(matrix))
    if values.ndim == 1:  # two classes: one value, for the second
        values = np.stack([-values / 2, values / 2], axis=1)
    full = np.full((len(values), labels), -np.inf)
    full[:, model.classes_] = values
    return full
