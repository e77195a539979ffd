"""How far a window lies from its reference, by signal: pure functions of features.

A signal is a statistic, an effect between 0 and 1 that does not grow with the rows, and a direction. Whether a
statistic is too large is for `calibration`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from monitoring.lens import Features, Flags, Floats, Ranked

SIGNALS = ("text", "embedding", "length", "fertility", "unknown", "prediction", "confidence", "surprise")
"""text, embedding: a classifier tells window from reference, by words and runs of characters, and by latent semantic
features; length: tokens a text; fertility: tokens a word; unknown: texts with an unknown token; prediction: the mix of
predicted labels; confidence: the probability of the predicted label; surprise: probabilities that the subjects of the
texts do not explain."""
Direction = Callable[[Features, Flags, Flags], NDArray[np.floating]]
"""Scores (n,) of all rows, learned from two parts of them: the window's and the others'."""
_PRIOR = 4.0  # rows of the reference that the window's shares are pulled to


@dataclass(frozen=True)
class Distances:
    """By signal, in the order of `SIGNALS`: the statistic, larger being further, and the effect (0 to 1)."""

    statistics: Floats
    effects: Floats


def distances(features: Features, window: Flags, folds: Flags) -> Distances:
    """Compares some rows with all the others.

    Args:
        features: of reference and window, in any order.
        window: (n,) which rows are the window.
        folds: (n,) in which half a row is, for the classifiers; a document lies in one half.
    """
    text = np.mean([_separation(features, window, folds == half, _by_text) for half in (False, True)])
    meaning = np.mean([_separation(features, window, folds == half, _by_meaning) for half in (False, True)])
    length, fertility, confidence = (
        kolmogorov_smirnov(features.ranked[name], window) for name in ("length", "fertility", "confidence")
    )
    unknown = abs(features.unknown[window].mean() - features.unknown[~window].mean())
    here, there = label_counts(features, window)
    statistics = [text, meaning, length, fertility, unknown, chi_square(here, there), confidence]
    statistics.append(hotelling(features.surprise, window, features.groups))
    apart = float(np.abs(here / here.sum() - there / there.sum()).sum()) / 2
    effects = [2 * text - 1, 2 * meaning - 1, length, fertility, unknown, apart, confidence]
    moved = features.surprise[window].mean(axis=0) - features.surprise[~window].mean(axis=0)
    effects.append(
        (np.abs(moved).sum() + abs(moved.sum())) / 2
    )  # the last label is left out: it moves by minus the sum
    return Distances(np.array(statistics), np.maximum(np.array(effects), 0.0))


def directions(features: Features, window: Flags, labels: tuple[str, ...]) -> dict[str, str]:
    """By signal a word or two on which way the window differs."""

    def compared(values: NDArray[np.generic], more: str, less: str) -> str:
        here, there = (np.asarray(values[part], dtype=np.float64).mean() for part in (window, ~window))
        return more if here > there else less

    here, there = label_counts(features, window)
    grown = here / here.sum() - there / there.sum()
    return {
        "text": "other words",
        "embedding": "other subjects",
        "length": compared(features.length, "longer", "shorter"),
        "fertility": compared(features.fertility, "more tokens a word", "fewer tokens a word"),
        "unknown": compared(features.unknown, "more unknown", "fewer unknown"),
        "prediction": f"more {labels[int(grown.argmax())]}, fewer {labels[int(grown.argmin())]}",
        "confidence": compared(features.confidence, "more confident", "less confident"),
        "surprise": "other answers on the same subjects",
    }


def unknown_p_value(features: Features, window: Flags) -> float:
    """Fisher's exact test of the shares of texts with an unknown token.

    What is so rare that the reference lacks it is in no replay either, and a single one would be a finding.
    """
    from scipy.stats import fisher_exact

    here, there = features.unknown[window], features.unknown[~window]
    counts = [[int(part.sum()), int((~part).sum())] for part in (here, there)]
    return float(fisher_exact(counts).pvalue)


def kolmogorov_smirnov(column: Ranked, window: Flags) -> float:
    """The largest distance between the distribution functions of the window and of the others."""
    inside = window[column.order]
    here, there = np.cumsum(inside), np.cumsum(~inside)
    return float(np.abs(here[column.last] / here[-1] - there[column.last] / there[-1]).max())


def label_counts(features: Features, window: Flags) -> tuple[Floats, Floats]:
    """How often each label is predicted in the window, and in the others."""
    here, there = (np.bincount(features.predicted[part], minlength=features.labels) for part in (window, ~window))
    return here.astype(np.float64), there.astype(np.float64)


def chi_square(here: Floats, there: Floats) -> float:
    """The two-sample chi-square statistic of two vectors of counts; both are samples, neither is taken as exact."""
    both = here + there
    seen = both > 0
    share = here.sum() / both.sum()
    expected = both[seen] * share
    return float(((here[seen] - expected) ** 2 / expected).sum() / (1 - share))


def hotelling(values: Floats, window: Flags, groups: NDArray[np.intp]) -> float:
    """How far the mean of the window lies from that of the others, in their own covariance; rows of a document count
    together in it (H. Hotelling, 1931; R. Liang and S. Zeger, Biometrika 73, 1986)."""
    usual = values[~window].mean(axis=0)
    by_document = np.stack([np.bincount(groups[~window], weights=one) for one in (values[~window] - usual).T], axis=1)
    covariance = by_document.T @ by_document / int((~window).sum())
    ridge = 1e-6 * np.trace(covariance) * np.eye(len(covariance)) + np.finfo(float).tiny * np.eye(len(covariance))
    away = values[window].mean(axis=0) - usual
    return float(window.sum() * away @ np.linalg.solve(covariance + ridge, away))


def area_under_curve(scores: NDArray[np.floating], window: Flags) -> float:
    """The chance that a row of the window scores higher than another one, ties counted half."""
    here = int(window.sum())
    return float((rankdata(scores)[window].sum() - here * (here + 1) / 2) / (here * (len(window) - here)))


def _separation(features: Features, window: Flags, learn: Flags, by: Direction) -> float:
    """Learns a direction on one half of the rows; how well it separates the window in the other half, as an AUC."""
    return area_under_curve(by(features, window & learn, ~window & learn)[~learn], window[~learn])


def _by_text(features: Features, here: Flags, there: Flags) -> NDArray[np.floating]:
    """Log odds of each piece of text, summed over a text: naive Bayes, which few rows suffice for (A. Ng, M. Jordan,
    NIPS 2001); the window's shares are pulled to the reference's."""
    pieces = features.pieces_of_text
    usual = (pieces.T @ there.astype(np.float32) + 0.5) / (there.sum() + 1)
    now = (pieces.T @ here.astype(np.float32) + _PRIOR * usual) / (here.sum() + _PRIOR)
    usual, now = (np.clip(share, 1e-6, 1 - 1e-6) for share in (usual, now))
    odds = np.log(now) - np.log1p(-now) - np.log(usual) + np.log1p(-usual)
    return np.asarray(pieces @ odds.astype(np.float32))


def _by_meaning(features: Features, here: Flags, there: Flags) -> NDArray[np.floating]:
    """The difference of the means; the features are whitened, so this is Fisher's discriminant."""
    return np.asarray(features.meaning @ (features.meaning[here].mean(axis=0) - features.meaning[there].mean(axis=0)))
