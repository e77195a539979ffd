"""Thresholds by replay: how far windows that did not drift lie from their reference, by chance alone.

Pure functions. The distances are computed in `signals`; what is kept in `var/` is for `gauge`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from monitoring.lens import Features, Flags, Floats
from monitoring.signals import distances


@dataclass(frozen=True)
class Calibration:
    """What replays say of windows of one size.

    Attributes:
        size: rows a window.
        statistics: (replays, signals), by replay.
        effects: (signals,) the median effect of the replays: what chance alone gives.
        rate: the share of undrifted windows that may have a finding.
    """

    size: int
    statistics: Floats
    effects: Floats
    rate: float

    @cached_property
    def level(self) -> int:
        """How many replays may lie at or beyond a window, in one signal, for a finding.

        The largest number with which no more than `rate` of the replays themselves would be findings in any signal
        (P. Westfall and S. Young, "Resampling-Based Multiple Testing", 1993: the smallest p-value of correlated tests).
        """
        nearest = np.sort(_at_or_beyond(self.statistics, self.statistics).min(axis=1))  # each counts itself
        return int(nearest[int(self.rate * len(nearest))]) - 1

    def p_values(self, statistics: Floats) -> Floats:
        """By signal the chance of a window at least as far off, one-sided; (1 + replays beyond) / (1 + replays)."""
        return np.asarray((1 + _at_or_beyond(self.statistics, statistics[None, :])[0]) / (1 + len(self.statistics)))

    def found(self, p_values: Floats) -> Flags:
        """By signal whether it is a finding."""
        return np.asarray(p_values * (1 + len(self.statistics)) <= self.level + 1e-9)

    @cached_property
    def thresholds(self) -> Floats:
        """By signal the statistic that a finding lies above."""
        return np.asarray(np.sort(self.statistics, axis=0)[-self.level])


def _at_or_beyond(replays: Floats, values: Floats) -> NDArray[np.intp]:
    """(m, signals): how many replays are at least as large as each of (m, signals) values."""
    columns = zip(np.sort(replays, axis=0).T, values.T, strict=True)
    return np.stack([len(column) - np.searchsorted(column, value, side="left") for column, value in columns], axis=1)


def drawn(groups: NDArray[np.intp], rows: int, chance: Generator) -> Flags:
    """Marks whole groups, drawn without replacement, until `rows` rows are reached.

    Without replacement: a row that came twice would be easy to recognize, and no window of service holds one twice.
    """
    sizes = np.bincount(groups)
    order = chance.permutation(len(sizes))
    last = int(np.searchsorted(np.cumsum(sizes[order]), rows))
    chosen = np.zeros(len(sizes), dtype=bool)
    chosen[order[: last + 1]] = True
    return np.asarray(chosen[groups])


def halves(groups: NDArray[np.intp], chance: Generator) -> Flags:
    """Puts whole groups into one of two halves."""
    return np.asarray((chance.random(int(groups.max()) + 1) < 0.5)[groups])


def calibrate(features: Features, size: int, *, replays: int, rate: float, seed: int) -> Calibration:
    """Draws windows from the reference itself, by whole groups, and compares each with the groups that are left.

    Args:
        features: of the reference.
        size: rows a window.
    """
    chance = np.random.default_rng([seed, size])
    found = [
        distances(features, drawn(features.groups, size, chance), halves(features.groups, chance))
        for _ in range(replays)
    ]
    effects = np.median([one.effects for one in found], axis=0)
    return Calibration(size, np.array([one.statistics for one in found]), effects, rate)
