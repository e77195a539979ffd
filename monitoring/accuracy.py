"""Accuracy in service, from the audit sample alone: a test that may be looked at after every label.

Pure functions of the labels that came back. Volunteered labels have no place here: people report what is wrong.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tidegate.monitor_settings import Accuracy

if TYPE_CHECKING:
    import polars as pl

_LOSSES = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32)  # accuracy; a bet on each of them


def log_e_value(right: NDArray[np.bool_], blocks: NDArray[np.intp], *, bound: float) -> float:
    """The logarithm of the evidence against "accuracy is at least `bound`".

    A bet on a loss multiplies its capital by 1 + stake (bound - right) with each row, which is no gain in the mean
    while accuracy is at least the bound: so the chance that the capital ever reaches 1 / alpha is at most alpha (I.
    Waudby-Smith, A. Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86(1), 2024; J. Ville,
    1939). The evidence is a mixture of bets on several losses, each begun anew with every block, so that a champion
    that was good for long is still found when it fails. The stakes never depend on what was seen, so the order in
    which the labels of a block arrive makes no difference, and neither do labels that come late.

    Args:
        right: (n,) whether the champion was right; one row a document, since rows of one err together.
        blocks: (n,) the block of audited rows that a row lies in, from 0; known before its label is.
        bound: between 0 and 1, the least accuracy that is good enough.
    """
    if not len(right):
        return 0.0
    losses = np.array([loss for loss in _LOSSES if loss < bound] or [bound / 2])
    stakes = losses / (bound * (1 - bound))  # each is the best one, were that the loss
    won = np.log1p(stakes[:, None] * (bound - right.astype(np.float64)))
    count = int(blocks.max()) + 1
    by_block = np.stack([np.bincount(blocks, weights=one, minlength=count) for one in won])
    since = np.cumsum(by_block[:, ::-1], axis=1)[:, ::-1]  # from the beginning of each block until now
    shares = _shares(count)
    begun = np.log(shares) + _log_mean(since)
    return float(np.logaddexp.reduce(np.append(begun, np.log(1 - shares.sum()))))


def _shares(count: int) -> NDArray[np.float64]:
    """What of the capital each block begins with; over all blocks there will ever be it is 1."""
    places = np.arange(1, count + 1, dtype=np.float64)
    return np.asarray(1 / (places * (places + 1)))


def _log_mean(logs: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(np.logaddexp.reduce(logs, axis=0) - math.log(len(logs)))


def watched(audited: "pl.DataFrame", how: Accuracy, *, reference: float) -> dict[str, Any] | None:
    """What the labels that came back say of the champion's accuracy; None while there is none.

    Args:
        audited: all audited predictions of the champion, oldest first: `label`, `actual` (null where no label came
            back), `document`.
        reference: its accuracy on test, as a share of rows.

    Returns:
        JSON-able: `rows` and `documents` with a label, `accuracy` of them, the `bound`, the `evidence` against accuracy
        being at least that (1 says nothing, more speaks against), the evidence that is `needed`, and `finding`.
    """
    import polars as pl

    rows = audited.with_row_index("place").filter(pl.col("actual").is_not_null())
    if not len(rows):
        return None
    rows = rows.with_columns(unit=pl.coalesce("document", pl.format("row {}", "place")))
    first = rows.unique("unit", keep="first", maintain_order=True)
    bound = max(reference - how.tolerance, 1e-6)
    blocks = (first["place"].to_numpy() // how.block).astype(np.intp)
    evidence = log_e_value((first["label"] == first["actual"]).to_numpy(), blocks, bound=bound)
    return {
        "rows": len(rows),
        "documents": len(first),
        "accuracy": float((rows["label"] == rows["actual"]).mean()),  # type: ignore[arg-type]
        "bound": bound,
        "evidence": math.exp(min(evidence, 700.0)),
        "needed": 1 / how.alpha,
        "finding": evidence >= -math.log(how.alpha),
    }
