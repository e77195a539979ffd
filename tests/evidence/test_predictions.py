"""Predictions as Parquet files."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tidegate.errors import DataError
from tidegate.evidence import predictions

LABELS = ("bad", "good")
ROWS = pl.DataFrame(
    {"id": ["1", "2", "3"], "group": ["x", "x", "y"], "label": ["good", "bad", "good"], "age": ["old", None, "new"],
     "text": ["a", "b", "c"]}
)  # fmt: skip
PROBABILITIES = np.array([[0.25, 0.75], [1 / 3, 2 / 3], [0.9, 0.1]])


def made() -> predictions.Predictions:
    return predictions.from_rows(ROWS, LABELS, PROBABILITIES, ["age"])


def test_what_is_read_is_what_was_written(tmp_path: Path):
    predictions.write(tmp_path / "p.parquet", made())
    found = predictions.read(tmp_path / "p.parquet", LABELS)
    assert found.ids.tolist() == ["1", "2", "3"]
    assert found.groups.tolist() == ["x", "x", "y"]
    assert found.actual.tolist() == [1, 0, 1]
    assert (found.probabilities == PROBABILITIES).all()
    assert found.slices["age"].tolist() == ["old", predictions.NO_VALUE, "new"]


def test_the_columns_are_those_of_the_contract(tmp_path: Path):
    predictions.write(tmp_path / "p.parquet", made())
    frame = pl.read_parquet(tmp_path / "p.parquet")
    assert frame.schema == {
        "id": pl.String, "group": pl.String, "label": pl.String, "predicted": pl.String,
        "probabilities": pl.List(pl.Float64), "age": pl.String,
    }  # fmt: skip
    assert frame["predicted"].to_list() == ["good", "good", "bad"]


def test_equal_predictions_give_equal_bytes(tmp_path: Path):
    for name in ("a", "b"):
        predictions.write(tmp_path / name, made())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_label_outside_the_label_set_is_refused():
    with pytest.raises(DataError, match="'good'"):
        predictions.from_rows(ROWS, ("bad", "fine"), PROBABILITIES, [])


def test_a_missing_column_is_refused():
    with pytest.raises(DataError, match="'channel'"):
        predictions.from_rows(ROWS, LABELS, PROBABILITIES, ["channel"])


def test_another_label_set_is_refused(tmp_path: Path):
    predictions.write(tmp_path / "p.parquet", made())
    with pytest.raises(DataError, match="3 labels"):
        predictions.read(tmp_path / "p.parquet", ("bad", "good", "fine"))


def test_a_damaged_file_is_refused(tmp_path: Path):
    (tmp_path / "p.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="dvc repro"):
        predictions.read(tmp_path / "p.parquet", LABELS)


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(DataError):
        predictions.read(tmp_path / "p.parquet", LABELS)


def test_a_file_of_something_else_is_refused(tmp_path: Path):
    ROWS.write_parquet(tmp_path / "p.parquet")
    with pytest.raises(DataError, match="'predicted'"):
        predictions.read(tmp_path / "p.parquet", LABELS)
