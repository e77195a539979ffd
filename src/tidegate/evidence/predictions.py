"""Predictions as files: one Parquet per model, one row per record. What they are worth is for `scoring`.

Columns: `id`, `group`, `label`, `predicted`, `probabilities` (in the order of the task's labels), slice columns.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from tidegate import files
from tidegate.errors import DataError
from tidegate.evidence.scoring import Predictions
from tidegate.evidence.statistics import Floats

_OWN = ("id", "group", "label", "predicted", "probabilities")
NO_VALUE = "(none)"
"""What stands for a null in a slice column."""


def from_rows(
    frame: pl.DataFrame, labels: Sequence[str], probabilities: Floats, slice_columns: Sequence[str]
) -> Predictions:
    """Joins records (`id`, `group`, `label`, slice columns) with (n, k) probabilities in the same order.

    Raises:
        DataError: a column is missing, a label is not in the label set, or the probabilities are unusable.
    """
    missing = [name for name in ("id", "group", "label", *slice_columns) if name not in frame.columns]
    if missing:
        raise DataError("records", f"have no column {missing[0]!r}", "Run `dvc repro`, which makes them anew")
    return Predictions(
        ids=_texts(frame["id"]),
        groups=_texts(frame["group"]),
        labels=tuple(labels),
        actual=_indexes(frame["label"], labels),
        probabilities=np.asarray(probabilities, dtype=np.float64),
        slices={name: _texts(frame[name]) for name in slice_columns},
    )


def write(path: Path, p: Predictions) -> None:
    """Writes a Parquet file whose bytes are equal for equal predictions."""
    names = np.array(p.labels)
    columns = {
        "id": pl.Series(p.ids.tolist(), dtype=pl.String),
        "group": pl.Series(p.groups.tolist(), dtype=pl.String),
        "label": pl.Series(names[p.actual].tolist(), dtype=pl.String),
        "predicted": pl.Series(names[p.predicted].tolist(), dtype=pl.String),
        "probabilities": pl.Series(p.probabilities.tolist(), dtype=pl.List(pl.Float64)),
        **{name: pl.Series(values.tolist(), dtype=pl.String) for name, values in p.slices.items()},
    }
    with files.replacing(path) as draft:
        pl.DataFrame(columns).write_parquet(draft)


def read(path: Path, labels: Sequence[str]) -> Predictions:
    """Reads what `write` wrote; every column that is not its own is a slice column.

    Raises:
        DataError: the file is missing, damaged, or does not fit the label set.
    """
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(str(path), f"cannot be read ({error})", "Run `dvc repro`, which makes it anew") from None
    if missing := [name for name in _OWN if name not in frame.columns]:
        raise DataError(str(path), f"has no column {missing[0]!r}", "Run `dvc repro`, which makes it anew")
    lengths = frame["probabilities"].list.len().unique().to_list()
    if lengths != [len(labels)]:
        cause = f"holds {lengths} probabilities a row, and the task has {len(labels)} labels"
        raise DataError(str(path), cause, "Run `dvc repro`, which makes it anew")
    rows = np.array(frame["probabilities"].to_list(), dtype=np.float64)
    return from_rows(frame, labels, rows, [name for name in frame.columns if name not in _OWN])


def _texts(column: pl.Series) -> "np.ndarray[tuple[int], np.dtype[np.str_]]":
    return np.array(column.cast(pl.String).fill_null(NO_VALUE).to_list(), dtype=np.str_)


def _indexes(column: pl.Series, labels: Sequence[str]) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    place = {label: i for i, label in enumerate(labels)}
    unknown = [label for label in column.unique(maintain_order=True).to_list() if label not in place]
    if unknown:
        cause = f"hold the label {unknown[0]!r}, which is not in the label set {list(labels)}"
        raise DataError("records", cause, "Run `dvc repro`, which makes both anew")
    return np.array([place[label] for label in column.to_list()], dtype=np.int64)
