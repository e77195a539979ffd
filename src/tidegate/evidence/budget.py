"""How many decisions a test set supports before it is used up. Who counts them, and what follows, is for `promotion`.

Each decision tells whoever made the candidate one of three verdicts, and the next candidate may be made after it. After
H of them one of (3 ** H - 1) / 2 candidates has been looked at (C. Renggli et al., "Continuous Integration of Machine
Learning Models with ease.ml/ci", arXiv 1903.00278, section 3.3, "fully adaptive", with three answers in place of two).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidegate.evidence.statistics import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What the number of decisions rests on."""

    supports: int
    """Decisions, the first included; at least 1."""
    against: str
    """The role of the model that the candidate was compared with."""
    discordant: float
    """Share of rows that just one of the two has right; the upper end of its interval, where it has one."""
    design_effect: float
    """By what factor the groups make the variance of the difference larger than single rows would."""
    effective_rows: float
    """Rows divided by the design effect."""
    tolerance: float
    """Difference of accuracy by which no candidate may look better than it is."""
    alpha: float
    """Chance that any one of them does."""

    def as_json(self) -> dict[str, Any]:
        """As `decision.json` holds it."""
        return asdict(self)


def design_effect(difference: Floats, groups: NDArray[np.intp]) -> float:
    """The variance of a mean when whole groups are drawn, over that when rows are (L. Kish, 1965); at least 1.

    Args:
        difference: (n,) a value a row, here 1, 0 or -1: only the one, both or neither, only the other model is right.
        groups: (n,) group numbers.
    """
    centred = difference - difference.mean()
    by_row = float((centred**2).sum())
    by_group = float((np.bincount(groups, weights=centred) ** 2).sum())
    return max(1.0, by_group / by_row) if by_row else 1.0


def supports(*, rows: float, discordant: float, tolerance: float, alpha: float) -> int:
    """The largest H such that (3 ** H - 1) / 2 candidates all keep to the tolerance with probability 1 - alpha.

    By Bennett's inequality a mean of `rows` differences with variance at most `discordant`, each at most
    b = 1 + tolerance above its mean, exceeds that mean by the tolerance with probability at most
    exp(-rows * discordant / b ** 2 * h(b * tolerance / discordant)), h(u) = (1 + u) ln(1 + u) - u
    (G. Bennett, JASA 57, 1962); the candidates are added up (union bound).

    Args:
        rows: effective ones.

    Returns:
        At least 1: the first decision adapts to nothing, and the rules hold it to alpha by themselves.
    """
    if tolerance <= 0:
        return 1
    b, variance = 1 + tolerance, max(discordant, 1 / max(rows, 1.0))  # no discordant row among n is no proof of none
    u = b * tolerance / variance
    exponent = rows * variance / b**2 * ((1 + u) * np.log1p(u) - u)
    return max(1, int(np.logaddexp(0.0, np.log(2 * alpha) + exponent) / np.log(3)))
