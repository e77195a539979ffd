"""Why a record is bad, and the table that the expectations look at.

The bounds, and what follows from a bad row, are the caller's.
"""

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from tidegate.errors import DataError

REQUIRED = ("id", "text", "label", "group", "origin")
"""The record columns that every table of records has; all are texts."""

ADDED = ("reason", "good_label", "rows_of_label", "share_of_label")
"""Columns that are added here, so no record may bring one."""


@contextmanager
def reading(path: Path) -> Iterator[pl.LazyFrame]:
    """Yields a Parquet file as a table to read in the block; columns without any value count as texts.

    Raises:
        DataError: the file is missing or damaged, which may come out only when its rows are read; or the disk is full.
    """
    try:
        table = pl.scan_parquet(path)
        empty = [column for column, dtype in table.collect_schema().items() if dtype == pl.Null]
    except FileNotFoundError:
        raise DataError(str(path), "is missing", "Run `dvc repro`, which makes it") from None
    except pl.exceptions.ComputeError as error:
        raise _damaged(path, error) from error
    try:
        yield table.with_columns(pl.col(empty).cast(pl.String))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _full(str(error.filename or "the temporary folder")) from error
    except pl.exceptions.ComputeError as error:
        if "os error" in str(error):  # of the system and not of the content, as a file that cannot be written
            raise
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    cause = f"is damaged or no Parquet ({str(error).splitlines()[0]})"
    return DataError(str(path), cause, "Delete it and run `dvc repro`, which makes it again")


def _full(what: str) -> DataError:
    return DataError(what, "no space is left on the disk", "Free some and run again")


def write(marked: pl.LazyFrame, *, bad: bool, path: Path) -> None:
    """Writes the bad rows with their `reason`, or the good ones without, in their order, to a Parquet file.

    A blank label of a good row becomes null.

    Raises:
        DataError: the disk is full.
    """
    rows = marked.filter(pl.col("reason").is_not_null() if bad else pl.col("reason").is_null())
    try:
        (rows if bad else rows.drop("reason").with_columns(_filled("label"))).sink_parquet(path, row_group_size=1 << 16)
    except pl.exceptions.ComputeError as error:
        if not any(words in str(error) for words in ("No space left", "Disk quota exceeded")):
            raise
        raise _full(str(path)) from error


def expected_types(schema: Mapping[str, pl.DataType], slices: Sequence[str]) -> dict[str, str]:
    """Column > `text` or `time`: the required columns, the slices, and the optional ones that are there."""
    found = dict.fromkeys([*REQUIRED, *slices], "text")
    optional = {"split": "text", "received_at": "time"}
    return found | {column: kind for column, kind in optional.items() if column in schema}


def misfits(schema: Mapping[str, pl.DataType], slices: Sequence[str]) -> Iterator[str]:
    """A sentence for each column that is missing, of a wrong type, or in the way."""
    for column, kind in expected_types(schema, slices).items():
        if column not in schema:
            yield f"column {column!r} is missing (there are {', '.join(schema)})"
        elif not _is(schema[column], kind):
            yield f"column {column!r} is of type {schema[column]}, not {kind}"
    yield from (f"column {column!r} bears a name that is needed here" for column in ADDED if column in schema)


def _is(dtype: pl.DataType, kind: str) -> bool:
    return dtype == pl.String if kind == "text" else isinstance(dtype, pl.Datetime)


def row_rules(
    *, shortest: int, longest: int, labels: Sequence[str] | None, unlabelled: bool = False
) -> dict[str, pl.Expr]:
    """Reason > true where a row is bad.

    Args:
        shortest: characters a text at least, outer white space not counted.
        longest: characters a text at most.
        labels: the label set, or None where any label will do.
        unlabelled: whether a row may lack a label.
    """
    length = pl.col("text").str.strip_chars().str.len_chars()
    rules = {
        "id is null": pl.col("id").is_null(),
        "id was seen in an earlier row": pl.col("id").is_not_null() & ~pl.col("id").is_first_distinct(),
        "group is null": pl.col("group").is_null(),
        "text is null": pl.col("text").is_null(),
        f"text is shorter than {shortest:,} character{'s' * (shortest > 1)}": length < shortest,
        f"text is longer than {longest:,} characters": length > longest,
    }
    if not unlabelled:
        rules["label is null or blank"] = _filled("label").is_null()
    if labels is not None:
        rules["label is not in the label set"] = _filled("label").is_not_null() & ~pl.col("label").is_in(list(labels))
    return rules


def _filled(column: str) -> pl.Expr:
    """The column with blank texts as null."""
    return pl.when(pl.col(column).str.strip_chars() != "").then(pl.col(column)).alias(column)


def reason(rules: Mapping[str, pl.Expr]) -> pl.Expr:
    """All reasons why a row is bad, joined by `; ` in the rules' order; null for a good row.

    Args:
        rules: reason > a boolean expression that is true where the row is bad; null counts as good.
    """
    told = [pl.when(broken.fill_null(value=False)).then(pl.lit(why)) for why, broken in rules.items()]
    joined = pl.concat_str(told, separator="; ", ignore_nulls=True)
    return pl.when(joined != "").then(joined).alias("reason")


def counts(reasons: pl.Series) -> dict[str, int]:
    """Reason > rows that have it, the most frequent first; a row with two reasons counts for both."""
    return _counted(reasons.drop_nulls().str.split("; ").explode().alias("reason"))


def label_counts(frame: pl.DataFrame, labels: Sequence[str]) -> dict[str, int]:
    """Label > good rows in the result of `examined`, zero where a label of the set has none."""
    return dict.fromkeys(labels, 0) | _counted(frame["good_label"].drop_nulls())


def labelled(frame: pl.DataFrame) -> pl.DataFrame:
    """Of the result of `examined` the rows that have a label, good and bad."""
    return frame.filter(pl.col("label").is_not_null())


def kept(frame: pl.DataFrame) -> int:
    """How many good rows without a label are in the result of `examined`."""
    return frame.filter(pl.col("reason").is_null() & pl.col("label").is_null()).height


def _counted(values: pl.Series) -> dict[str, int]:
    counted = values.value_counts(name="rows").sort(["rows", values.name], descending=[True, False])
    return dict(counted.iter_rows())


def height(table: pl.LazyFrame) -> int:
    """How many rows there are."""
    return int(table.select(pl.len()).collect().item())


def listed(labels: Mapping[str, int], *, most: int = 20) -> str:
    """Labels with their rows for a person, the first `most` of them, each cut to `shortened`."""
    shown = [f"{shortened(label)} {rows:,}" for label, rows in list(labels.items())[:most]]
    return ", ".join(shown + [f"and {len(labels) - most:,} more"] * (len(labels) > most))


def shortened(text: str, most: int = 40) -> str:
    """A text for a person, cut to `most` characters: a column of texts may be taken for labels by mistake."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def good_labels(marked: pl.LazyFrame) -> list[str]:
    """The labels of good rows, sorted."""
    good = marked.filter(pl.col("reason").is_null())
    return good.select(_filled("label").drop_nulls().unique().sort()).collect()["label"].to_list()


def lookalikes(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of labels that differ only in case or in white space, and so are hardly two classes."""
    first: dict[str, str] = {}
    return [(first[key], label) for label in labels if first.setdefault(key := _plain(label), label) != label]


def _plain(label: str) -> str:
    return " ".join(label.casefold().split())


def examined(marked: pl.LazyFrame, *, columns: Sequence[str], longest: int) -> pl.DataFrame:
    """What the expectations look at, of records with a `reason`: the named columns and four more.

    Blank labels are null. Texts come without outer white space, cut after `longest` + 1 characters: a huge cell is
    found to be too long and costs no memory. Added: `reason`, and on good rows `good_label`, `rows_of_label` (int) and
    `share_of_label` (float).
    """
    good_label = pl.when(pl.col("reason").is_null()).then(_filled("label")).alias("good_label")
    own = pl.col("good_label").is_not_null()
    rows = pl.when(own).then(pl.len().over("good_label")).alias("rows_of_label")
    return (
        marked.select(*columns, "reason", good_label)
        .with_columns(pl.col("text").str.strip_chars().str.head(longest + 1), _filled("label"), rows)
        .with_columns((pl.col("rows_of_label") / own.sum()).alias("share_of_label"))
        .collect()
    )
