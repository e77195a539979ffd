"""A reference is what the champion predicted on test, with the texts and what its tokenizer makes of them."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from monitoring import reference
from tidegate.errors import DataError
from tidegate.package import Package

PREDICTIONS = pl.DataFrame(
    {
        "id": ["2", "1", "3"],
        "group": ["g", "g", "h"],
        "label": ["positive", "negative", "neutral"],
        "predicted": ["positive", "negative", "positive"],
        "probabilities": [[0.1, 0.1, 0.8], [0.8, 0.1, 0.1], [0.1, 0.4, 0.5]],
        "channel": ["x", "x", "x"],
    }
)
ROWS = pl.DataFrame({"id": ["1", "2", "3", "4"], "text": ["bad film", "good zebra", "the zebra zebra", "fine"]})


@pytest.fixture
def made(package_folder: Callable[..., Path]) -> reference.Reference:
    return reference.build(Package.load(package_folder()), PREDICTIONS, ROWS)


def test_predictions_are_joined_with_their_texts_in_their_order(made: reference.Reference) -> None:
    assert made.rows.columns == list(reference.COLUMNS)
    assert made.rows["text"].to_list() == ["good zebra", "bad film", "the zebra zebra"]
    assert made.rows["label"].to_list() == ["positive", "negative", "positive"]
    assert made.rows["actual"].to_list() == ["positive", "negative", "neutral"]
    assert made.rows["document"].to_list() == ["g", "g", "h"]
    assert made.accuracy == pytest.approx(2 / 3)


def test_tokens_and_unknown_ones_are_those_of_the_package(made: reference.Reference) -> None:
    assert made.rows["tokens"].to_list() == [4, 4, 5]
    assert made.rows["unknown"].to_list() == [1, 0, 2]


def test_a_prediction_without_a_text_is_refused(package_folder: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="lack the text of 1 predictions"):
        reference.build(Package.load(package_folder()), PREDICTIONS, ROWS.filter(pl.col("id") != "3"))


def test_what_is_kept_is_read_again(made: reference.Reference, tmp_path: Path) -> None:
    reference.keep(made, tmp_path / "kept")
    again = reference.kept(tmp_path / "kept")
    assert again.rows.equals(made.rows)
    assert (again.model, again.labels, again.digest) == (made.model, made.labels, made.digest)


def test_another_row_is_another_reference(made: reference.Reference) -> None:
    other = reference.Reference(made.model, made.labels, made.rows.head(2))
    assert other.digest != made.digest


def test_a_damaged_one_is_named_with_the_way_out(made: reference.Reference, tmp_path: Path) -> None:
    reference.keep(made, tmp_path / "kept")
    (tmp_path / "kept" / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="Delete the folder"):
        reference.kept(tmp_path / "kept")
