"""Each metric as a function of sums over rows, so that it can be resampled by one matrix product.

A `Tally` holds the sums by group, in total or resampled; every figure maps one to the other (..., m) to (...).
Intervals and reports are for `scoring`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from tidegate.evidence import statistics
from tidegate.evidence.statistics import Floats

BINS = 15
"""Bins of the calibration error: of equal mass, equal confidences together."""
FLOOR = 1e-15
"""The least probability that the log-loss sees; a lower one is clipped to it."""
_TINY = 1e-300  # keeps 0 / 0 quiet where the result is masked


@dataclass(frozen=True)
class Tally:
    """Named blocks of columns summed over rows: by group (groups, m), in total (m,) or resampled (r, m)."""

    sums: Floats
    blocks: Mapping[str, slice]

    def __getitem__(self, name: str) -> Floats:
        return self.sums[..., self.blocks[name]]

    def total(self) -> "Tally":
        """The sums over all groups."""
        return replace(self, sums=self.sums.sum(axis=0))

    def resampled(self, *, replicates: int, seed: int) -> "Tally":
        """The sums over groups drawn with replacement."""
        return replace(self, sums=statistics.resampled_sums(self.sums, replicates=replicates, seed=seed))


def resampled_each(tallies: Sequence[Tally], *, replicates: int, seed: int) -> list[Tally]:
    """Each tally resampled, by one matrix product for all: what is drawn depends on the number of groups alone.

    Args:
        tallies: with equally many groups; they may be about other rows.
    """
    columns = np.hstack([one.sums for one in tallies])
    drawn = statistics.resampled_sums(columns, replicates=replicates, seed=seed)
    ends = np.cumsum([one.sums.shape[1] for one in tallies])
    return [replace(one, sums=drawn[:, end - one.sums.shape[1] : end]) for one, end in zip(tallies, ends, strict=True)]


def tally(
    labels: NDArray[np.int64], probabilities: Floats, groups: NDArray[np.intp], *, decisions_only: bool = False
) -> Tally:
    """Sums by group all that the metrics need.

    Args:
        labels: (n,) indexes of the actual labels.
        probabilities: (n, k).
        groups: (n,) group numbers from 0, none left out.
        decisions_only: leaves out what needs more of the probabilities than their largest.
    """
    n, k = probabilities.shape
    actual, predicted = np.eye(k)[labels], np.eye(k)[probabilities.argmax(axis=1)]
    columns = {"actual": actual, "predicted": predicted, "hits": actual * predicted, "rows": np.ones((n, 1))}
    if not decisions_only:
        columns |= _probability_columns(labels, probabilities, actual)
    ends = np.cumsum([block.shape[1] for block in columns.values()])
    blocks = {name: slice(int(e) - columns[name].shape[1], int(e)) for name, e in zip(columns, ends, strict=True)}
    stacked = np.hstack(list(columns.values()))
    return Tally(statistics.sums_by_group(stacked, groups, int(groups.max()) + 1), blocks)


def _probability_columns(labels: NDArray[np.int64], probabilities: Floats, actual: Floats) -> dict[str, Floats]:
    likely = probabilities[np.arange(len(labels)), labels]
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    member = np.eye(BINS)[confidence_bins(confidence)]
    above, below = _placements(probabilities, actual.astype(bool))
    return {
        "log_loss": -np.log(np.clip(likely, FLOOR, 1.0))[:, None],
        "overconfidence": member * (confidence - right)[:, None],
        "above": above,
        "below": below,
    }


def confidence_bins(confidence: Floats) -> NDArray[np.intp]:
    """(n,) confidences give (n,) bin numbers below `BINS`, as equal in mass as ties allow."""
    edges = np.quantile(confidence, np.linspace(0, 1, BINS + 1)[1:-1])
    return np.searchsorted(np.unique(edges), confidence, side="left")


def _placements(scores: Floats, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """For each positive the share of negatives below it; for each negative that of positives above it, centred.

    Ties count one half. The mean of either, before the second is centred, is the area under the ROC curve
    (E. DeLong, D. DeLong and D. Clarke-Pearson, Biometrics 44, 1988).
    """
    above, below = np.zeros_like(scores), np.zeros_like(scores)
    for c in range(scores.shape[1]):
        yes = positive[:, c]
        if not yes.any() or yes.all():
            continue
        ranks, column = rankdata(scores[:, c]), scores[:, c]
        above[yes, c] = (ranks[yes] - rankdata(column[yes])) / (~yes).sum()
        below[~yes, c] = 1 - (ranks[~yes] - rankdata(column[~yes])) / yes.sum()
        below[~yes, c] -= below[~yes, c].mean()
    return above, below


def accuracy(t: Tally) -> Floats:
    """The share of rows whose most probable label is the actual one."""
    return np.asarray(t["hits"].sum(axis=-1) / t["rows"][..., 0])


def recall(t: Tally) -> Floats:
    """(..., k); 0 for a label without rows."""
    return np.asarray(t["hits"] / np.maximum(t["actual"], _TINY))


def precision(t: Tally) -> Floats:
    """(..., k); 0 for a label that is never predicted."""
    return np.asarray(t["hits"] / np.maximum(t["predicted"], _TINY))


def f1(t: Tally) -> Floats:
    """(..., k); 0 for a label that neither occurs nor is predicted."""
    return np.asarray(2 * t["hits"] / np.maximum(t["actual"] + t["predicted"], _TINY))


def macro_f1(t: Tally) -> Floats:
    """The mean of F1 over the labels that occur among the rows: a label without rows cannot be judged."""
    return _mean_where(f1(t), t["actual"] > 0)


def roc_auc(t: Tally) -> Floats:
    """Macro, one against the rest, over the labels that have rows on both sides; nan where there are none.

    Resampled through its first-order projection on groups (N. Obuchowski, "Nonparametric analysis of
    clustered ROC curve data", Biometrics 53, 1997): exact on the rows themselves.
    """
    positives, negatives = t["actual"], t["rows"] - t["actual"]
    known = (positives > 0) & (negatives > 0)
    areas = t["above"] / np.maximum(positives, _TINY) + t["below"] / np.maximum(negatives, _TINY)
    return _mean_where(np.clip(areas, 0, 1), known)


def log_loss(t: Tally) -> Floats:
    """The mean of -ln p(actual label), in nats."""
    return np.asarray(t["log_loss"][..., 0] / t["rows"][..., 0])


def expected_calibration_error(t: Tally) -> Floats:
    """The mean gap between confidence and accuracy of the predicted label over bins of equal mass.

    M. Naeini, G. Cooper and M. Hauskrecht, AAAI 2015; equal mass after K. Nguyen and B. O'Connor, EMNLP 2015.
    """
    return np.asarray(np.abs(t["overconfidence"]).sum(axis=-1) / t["rows"][..., 0])


def calibration_noise(drawn: Tally, total: Tally) -> Floats:
    """(r,): how far, over all bins, the gaps of each replicate lie from the gaps seen."""
    gaps = drawn["overconfidence"] / drawn["rows"] - total["overconfidence"] / total["rows"]
    return np.asarray(np.abs(gaps).sum(axis=-1))


def _mean_where(values: Floats, known: NDArray[np.bool_]) -> Floats:
    count = known.sum(axis=-1)
    return np.where(count > 0, (values * known).sum(axis=-1) / np.maximum(count, 1), np.nan)


FIGURES = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "roc_auc": roc_auc,
    "log_loss": log_loss,
    "expected_calibration_error": expected_calibration_error,
}
