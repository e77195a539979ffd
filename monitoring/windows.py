"""The windows of a prediction log: which rows belong together, and those rows as a frame.

The log itself is written by the service. What is made of a window is for `watch`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tidegate.monitor_settings import Window as How

if TYPE_CHECKING:
    import polars as pl

_HOUR = 3600.0
_ROWS = """
    SELECT p.id, p.at, p.text, p.label, p.probabilities, p.tokens, p.unknown, p.audit, p.document, (
        SELECT f.label FROM feedback f
        WHERE f.prediction_id = p.id AND (:audited = 0 OR f.kind = 'audit') ORDER BY f.seq DESC LIMIT 1
    ) AS actual
    FROM predictions p
    WHERE p.model = :model AND p.seq BETWEEN :first AND :last AND (:audited = 0 OR p.audit = 1)
    ORDER BY p.seq
"""


@dataclass(frozen=True)
class Window:
    """Some predictions of one model.

    Attributes:
        first, last: places of its rows in the log (`seq`), both included.
        rows: with `id`, `at`, `text`, `label`, `probabilities`, `tokens`, `unknown`, `audit`, `document`, `actual`.
    """

    model: str
    first: int
    last: int
    rows: "pl.DataFrame"


def spans(seq: Sequence[int], at: NDArray[np.float64], how: How, *, now: float) -> list[tuple[int, int]]:
    """First and last place of every window that is complete. Pure; the same rows give the same windows.

    By count: every `how.rows` rows. By time: rows between two multiples of `how.hours` since 1970, the later of
    which is past; spans without rows are none.

    Args:
        seq: ascending places of the rows of one model.
        at: seconds since the epoch, by row.
        now: the same.
    """
    if how.hours is None:
        ends = range(how.rows, len(seq) + 1, how.rows)
        return [(seq[end - how.rows], seq[end - 1]) for end in ends]
    slots = np.floor(np.asarray(at) / (how.hours * _HOUR)).astype(np.int64)
    past = slots < np.floor(now / (how.hours * _HOUR))
    found: dict[int, tuple[int, int]] = {}
    for place, slot, over in zip(seq, slots.tolist(), past.tolist(), strict=True):
        if over:
            found[slot] = (found.get(slot, (place, place))[0], place)
    return list(found.values())


def complete(url: str, model: str, how: How, *, now: float, after: int = 0) -> list[tuple[int, int]]:
    """The complete windows of a model in the prediction log behind an SQL URL, from those after a place on.

    Args:
        after: `last` of the last window that was looked at; 0 for none. Windows by count begin behind it.
    """
    rows = _select(url, "SELECT seq, at FROM predictions WHERE model = :model AND seq > :after ORDER BY seq",
                   model=model, after=after)  # fmt: skip
    return spans([row["seq"] for row in rows], np.array([row["at"] for row in rows], dtype=np.float64), how, now=now)


def read(url: str, model: str, first: int, last: int) -> Window:
    """The rows of a window; `actual` is the latest label that came back, of whatever kind."""
    return Window(model, first, last, _frame(_select(url, _ROWS, model=model, first=first, last=last, audited=0)))


def audited(url: str, model: str, *, last: int) -> "pl.DataFrame":
    """All audited predictions of a model up to a place, oldest first; `actual` is the label of an audit alone."""
    return _frame(_select(url, _ROWS, model=model, first=0, last=last, audited=1))


def _select(url: str, words: str, **values: Any) -> list[dict[str, Any]]:
    import sqlalchemy

    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            return [dict(row) for row in connection.execute(sqlalchemy.text(words), values).mappings()]
    finally:
        engine.dispose()


def _frame(rows: list[dict[str, Any]]) -> "pl.DataFrame":
    import json

    import polars as pl

    schema: dict[str, Any] = {
        "id": pl.String, "at": pl.Float64, "text": pl.String, "label": pl.String,
        "probabilities": pl.List(pl.Float64), "tokens": pl.Int64, "unknown": pl.Int64, "audit": pl.Boolean,
        "document": pl.String, "actual": pl.String,
    }  # fmt: skip
    content = [{**row, "probabilities": json.loads(row["probabilities"]), "audit": bool(row["audit"])} for row in rows]
    return pl.DataFrame([{name: row[name] for name in schema} for row in content], schema=schema)
