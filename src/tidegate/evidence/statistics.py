"""Resampling by group, and the tests and intervals that rest on it, as pure functions of arrays.

No metric is named here (see `scoring`), and no rule of the gate (see `rules`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
_CELLS = 4_000_000  # weights drawn at once: 32 MB


@dataclass(frozen=True)
class Resampled:
    """A figure with its distribution when whole groups are drawn again with replacement.

    Intervals and p-values are those of the percentile bootstrap, expanded for few groups (T. Hesterberg,
    "What Teachers Should Know About the Bootstrap", The American Statistician 69(4), 2015): the normal
    quantile z becomes t with `effective_groups - 1` degrees of freedom, times sqrt(m / (m - 1)).
    """

    value: float
    draws: Floats
    """(replicates,); nan where a replicate does not define the figure."""
    effective_groups: float
    """(sum of sizes) ** 2 / sum of squared sizes (L. Kish, "Survey Sampling", 1965): m equal groups give m."""

    @cached_property
    def _sorted(self) -> Floats:
        return np.sort(self.draws[np.isfinite(self.draws)])

    @property
    def error(self) -> float | None:
        """The standard error: the standard deviation of the draws; None where nothing can be said."""
        return float(np.std(self._sorted, ddof=1)) if self.effective_groups > 1 and len(self._sorted) > 1 else None

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """The two-sided interval; None where the groups are too few for the tail to be resolved."""
        tail = self._tail((1 - confidence) / 2)
        if not np.isfinite(self.value) or tail * len(self._sorted) < 1:
            return None
        low, high = np.quantile(self._sorted, [tail, 1 - tail])
        return float(low), float(high)

    def p_above(self, bound: float) -> float:
        """One-sided p-value against "the figure is at most `bound`"; 1 where nothing can be said."""
        return self._p(np.searchsorted(self._sorted, bound, side="right"))

    def p_below(self, bound: float) -> float:
        """One-sided p-value against "the figure is at least `bound`"; 1 where nothing can be said."""
        return self._p(len(self._sorted) - np.searchsorted(self._sorted, bound, side="left"))

    def p_differs(self, bound: float = 0.0) -> float:
        """Two-sided p-value against "the figure is `bound`"."""
        return min(1.0, 2 * min(self.p_above(bound), self.p_below(bound)))

    def _tail(self, tail: float) -> float:
        m = self.effective_groups
        return float(stats.norm.cdf(stats.t.ppf(tail, m - 1) * np.sqrt(m / (m - 1)))) if m > 1 else 0.0

    def _p(self, beyond: Any) -> float:
        m = self.effective_groups
        if m <= 1 or not len(self._sorted):
            return 1.0
        share = (int(beyond) + 1) / (len(self._sorted) + 1)
        return float(stats.t.cdf(stats.norm.ppf(min(share, 1 - 1e-12)) / np.sqrt(m / (m - 1)), m - 1))


def sums_by_group(columns: Floats, groups: NDArray[np.intp], count: int) -> Floats:
    """Sums the rows of each group: (n, m) values and (n,) group numbers below `count` give (count, m)."""
    sums = np.zeros((count, columns.shape[1]))
    np.add.at(sums, groups, columns)
    return sums


def resampled_sums(sums: Floats, *, replicates: int, seed: int) -> Floats:
    """Draws as many groups as there are, with replacement, and adds up their sums.

    Args:
        sums: (groups, m), see `sums_by_group`.

    Returns:
        (replicates, m); equal seeds and group counts draw the same groups, so figures can be paired.
    """
    return np.concatenate([weights @ sums for weights in _weights(len(sums), replicates=replicates, seed=seed)])


def _weights(groups: int, *, replicates: int, seed: int) -> Iterator[Floats]:
    """Multinomial weights in blocks of (some replicates, groups). The block size never changes the draws."""
    generator = np.random.default_rng(seed)
    block = max(1, _CELLS // groups)
    for start in range(0, replicates, block):
        rows = min(block, replicates - start)
        drawn = generator.integers(0, groups, size=(rows, groups)) + groups * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups).astype(np.float64)


def effective_groups(sizes: Floats) -> float:
    """Kish's effective number of groups of unequal sizes; 0 where there are none."""
    squares = float((sizes**2).sum())
    return float(sizes.sum()) ** 2 / squares if squares else 0.0


def mcnemar(a_right: NDArray[np.bool_], b_right: NDArray[np.bool_], groups: NDArray[np.intp]) -> dict[str, float | int]:
    """Tests on the same rows whether two models are right equally often, rows being correlated within groups.

    The statistic is (sum of d) ** 2 / sum of d ** 2, where d is, by group, the rows that only `a` has right
    minus those that only `b` has right; chi-square with one degree of freedom (N. Obuchowski, Statistics in
    Medicine 17, 1998, with the variance under the null of Z. Yang, X. Sun and J. Hardin, Biometrical Journal
    52(5), 2010). With groups of one row it is McNemar's test.
    """
    d = np.bincount(groups, weights=a_right.astype(np.float64) - b_right)
    squares = float((d**2).sum())
    statistic = float(d.sum()) ** 2 / squares if squares else 0.0
    return {
        "only_first_right": int((a_right & ~b_right).sum()),
        "only_second_right": int((b_right & ~a_right).sum()),
        "statistic": statistic,
        "p_value": float(stats.chi2.sf(statistic, 1)),
    }


def p_mean_below(sums: Floats, sizes: Floats, bound: float) -> float:
    """One-sided p-value against "the mean is at least `bound`", rows being correlated within groups.

    The mean is linearized by group (a ratio of sums) and held against t with Kish's effective groups less one as
    degrees of freedom (A. C. Cameron and D. L. Miller, J. Human Resources 50(2), 2015). Where a resampled p-value ends
    at one over the replicates, this one goes on, so it can be multiplied by many tests.

    Args:
        sums: (groups,) what the rows of a group add up to.
        sizes: (groups,) rows of a group.

    Returns:
        1 where there are too few groups to say anything. Where all groups have the same mean there is no spread to go
        by, and the sign alone is tested: 0.5 to the power of the effective groups.
    """
    m, total = effective_groups(sizes), float(sizes.sum())
    if m <= 1 or len(sums) < 2:
        return 1.0
    mean = float(sums.sum()) / total
    residuals = sums - mean * sizes
    error = np.sqrt(len(sums) / (len(sums) - 1) * float((residuals**2).sum())) / total
    if error == 0.0:
        return float(0.5**m) if mean < bound else 1.0
    return float(stats.t.cdf((mean - bound) / error, m - 1))


def exact_share(value: float, trials: int, *, confidence: float) -> tuple[float, float]:
    """The interval of a share that was 0 or 1 in all of `trials` (C. Clopper and E. Pearson, Biometrika 26, 1934)."""
    width = ((1 - confidence) / 2) ** (1 / max(trials, 1))
    return (width, 1.0) if value > 0.5 else (0.0, 1 - width)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values so that the chance of any false finding is held (S. Holm, Scand. J. Statistics 6, 1979)."""
    order = np.argsort(p_values, kind="stable")
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def rows_to_decide(*, rows: int, width: float, distance: float, alpha: float, power: float) -> int | None:
    """How many more rows would decide a one-sided test, were the figure seen the true one.

    Normal approximation: rows * ((z(1 - alpha) + z(power)) * error / distance) ** 2 - rows, where the standard
    error is read off the interval: width / (2 z(1 - alpha)). It is resampled by group, so further rows are
    taken to come in groups as these did.

    Args:
        width: of the two-sided interval at confidence 1 - 2 alpha.
        distance: of the figure from its bound.

    Returns:
        None where the figure lies on its bound: no number of rows decides that.
    """
    if abs(distance) < 1e-9:
        return None
    z_alpha, z_power = stats.norm.ppf(1 - alpha), stats.norm.ppf(power)
    needed = rows * ((1 + z_power / z_alpha) * width / 2 / distance) ** 2
    return max(1, int(np.ceil(needed - rows)))
