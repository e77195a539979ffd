"""Which split a row belongs to, and which rows are withheld so that nothing crosses: pure functions.

A row never moves: what stands in its way is withheld instead. Reading and writing stand in `stages/split.py`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from tidegate.errors import DataError

SPLITS = ("train", "validation", "test")
"""From the least to the most protected."""


def uniform(group: str, salt: str) -> float:
    """A number in [0, 1) that the salt and the group alone decide."""
    digest = hashlib.blake2b(f"{salt}\0{group}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """How groups are drawn by hash."""

    salt: str
    """Another salt draws other groups."""
    validation: float
    """Share of the groups."""
    test: float
    """Share of the groups; the rest is train."""

    def split(self, group: str) -> str:
        """The split of a group.

        Test takes from the bottom and validation from the top, so that a changed share moves groups only between
        that split and train.
        """
        drawn = uniform(group, self.salt)
        return "test" if drawn < self.test else "validation" if drawn >= 1 - self.validation else "train"

    def carve(self, group: str) -> str:
        """Validation or train: the split of a group among those that are not for testing."""
        part = self.validation / (1 - self.test)
        return "validation" if uniform(group, self.salt) >= 1 - part else "train"


def by_hash(groups: pl.Series, draw: Draw) -> pl.Series:
    """The split of each row by its group's hash: adding rows never moves another."""
    return _mapped(groups, draw.split)


def by_time(rows: pl.DataFrame, *, validation: datetime, test: datetime) -> pl.Series:
    """The split of each row by when its group first came: before `validation`, before `test`, or later.

    Args:
        rows: `group`, and `received_at` as UTC timestamps.
        validation: the first moment of validation.
        test: the first moment of test.

    Raises:
        DataError: there are no times, or a group has none.
    """
    if "received_at" not in rows.columns:
        raise DataError(
            "split.by: time", "the records have no column received_at", "Give it in ingest.select, or split by hash"
        )
    first = rows.select(pl.col("received_at").min().over("group"), "group")
    if missing := first["received_at"].null_count():
        group = first.filter(pl.col("received_at").is_null())["group"][0]
        raise DataError(
            "received_at", f"is missing in all rows of a group, {missing:,} rows (the first group is {group!r})",
            "Fill it or leave those rows out in ingest.select, or split by hash",
        )  # fmt: skip
    came = pl.col("received_at")
    chosen = pl.when(came >= test).then(pl.lit("test")).when(came >= validation).then(pl.lit("validation"))
    return first.select(chosen.otherwise(pl.lit("train")).alias("split"))["split"]


def by_source(rows: pl.DataFrame, draw: Draw) -> pl.Series:
    """The split of each row as its source gives it in `split`.

    Where the source has no validation rows, they are taken from train by the group's hash, in the proportion of
    the shares. Rows without a split (feedback) are split by the group's hash.

    Raises:
        DataError: there is no column `split`, or it holds another word.
    """
    if "split" not in rows.columns:
        raise DataError(
            "split.by: source", "the records have no column split", "Give it in ingest.select, or split by hash"
        )
    given = rows["split"].cast(pl.String)
    if odd := sorted(set(given.drop_nulls().unique()) - set(SPLITS)):
        raise DataError(
            "the column split", f"holds {', '.join(map(repr, odd[:5]))}, and not only {', '.join(SPLITS)}",
            "Map the words to these in ingest.select",
        )  # fmt: skip
    if not (given == "validation").any():
        carved = _mapped(rows["group"], draw.carve)
        given = pl.select(pl.when(given == "train").then(carved).otherwise(given).alias("split"))["split"]
    return given.fill_null(by_hash(rows["group"], draw))


def withheld(rows: pl.DataFrame, *, copies: str) -> pl.Series:
    """Why a row is used in no split, or null where it is used.

    A group, and a cluster of duplicates, stays in the most protected split it reaches (test before validation
    before train); its rows in the others are withheld. Whether a cluster's further rows within one split are
    withheld as well is what `copies` says (`keep` or `drop`); then the row with the smallest id stays.

    Args:
        rows: `id`, `group`, `cluster` and `split`.
        copies: `keep` or `drop`.
    """
    rank = pl.col("split").replace_strict(dict(zip(SPLITS, range(3), strict=True)), return_dtype=pl.Int8)
    rows = rows.with_columns(rank=rank).with_columns(torn=pl.col("rank") < pl.col("rank").max().over("group"))
    free = pl.when(~pl.col("torn"))
    rows = rows.with_columns(
        double=pl.col("rank") < free.then("rank").max().over("cluster"),
        again=pl.col("id") != free.then("id").min().over("cluster", "split"),
    )
    again = pl.col("again") & (copies == "drop")
    reason = (
        pl.when("torn").then(pl.lit("group_in_another_split"))
        .when("double").then(pl.lit("duplicate_in_another_split"))
        .when(again).then(pl.lit("copy_in_the_same_split"))
    )  # fmt: skip
    return rows.select(reason.otherwise(None).cast(pl.String).alias("withheld"))["withheld"]


def withheld_unlabelled(rows: pl.DataFrame, *, copies: str) -> pl.Series:
    """Why a row without a label is not used, or null where it is used or has a label.

    Such a row is learned from or not used at all: used are those in train whose group and whose cluster reach no
    other split, by whatever row. With `copies: drop` the cluster's labelled row stays, or else the smallest id.

    Args:
        rows: `id`, `group`, `cluster`, `label` (null where there is none), `split`, and `withheld`: why a row with a
            label is not used.
        copies: `keep` or `drop`.
    """
    without, outside = pl.col("label").is_null(), pl.col("split") != "train"
    shown = ~without & pl.col("withheld").is_null()
    reason = (
        pl.when(outside).then(pl.lit("unlabelled_outside_train"))
        .when(outside.any().over("group")).then(pl.lit("group_in_another_split"))
        .when(outside.any().over("cluster")).then(pl.lit("duplicate_in_another_split"))
    ).otherwise(None).cast(pl.String)  # fmt: skip
    rows = rows.with_columns(shown=shown.any().over("cluster")).with_columns(why=reason)
    free = pl.when(without & pl.col("why").is_null())
    again = free.then(pl.col("shown") | (pl.col("id") != free.then("id").min().over("cluster")))
    copy = pl.when(again & (copies == "drop")).then(pl.lit("copy_in_the_same_split"))
    return rows.select(pl.when(without).then(pl.coalesce("why", copy)).alias("withheld"))["withheld"]


def _mapped(groups: pl.Series, split_of: Callable[[str], str]) -> pl.Series:
    table = {group: split_of(group) for group in groups.unique()}
    return groups.replace_strict(table, return_dtype=pl.String).alias("split")
