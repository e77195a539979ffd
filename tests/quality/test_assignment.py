"""Assignment: sticky, by whole groups, and nothing that is the same on two sides."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.errors import DataError
from tidegate.quality import assignment
from tidegate.quality.assignment import SPLITS, Draw

DRAW = Draw(salt="s", validation=0.1, test=0.3)
GROUPS = st.text(alphabet="abcdefgh0123\ud800é", min_size=1, max_size=3)
ROWS = st.lists(st.tuples(GROUPS, st.integers(0, 6), st.sampled_from(SPLITS)), min_size=1, max_size=30)
START = datetime(2024, 1, 1, tzinfo=UTC)


def frame(rows: list[tuple[str, int, str]]) -> pl.DataFrame:
    """Rows of group, cluster and split; ids are places."""
    ids = [f"{i:03}" for i in range(len(rows))]
    groups, clusters, splits = zip(*rows, strict=True)
    return pl.DataFrame({"id": ids, "group": [g.encode("ascii", "replace").decode() for g in groups],
                         "cluster": [f"c{c}" for c in clusters], "split": splits})  # fmt: skip


@given(st.lists(GROUPS, min_size=1, max_size=30), st.lists(GROUPS, max_size=30), st.randoms())
@settings(max_examples=100, deadline=None)
def test_adding_rows_never_moves_an_old_row(old: list[str], new: list[str], rng: object) -> None:
    old, new = ([g.replace("\ud800", "x") for g in groups] for groups in (old, new))
    mixed = old + new
    rng.shuffle(mixed)  # type: ignore[attr-defined]
    before = dict(zip(old, assignment.by_hash(pl.Series(old), DRAW), strict=True))
    after = dict(zip(mixed, assignment.by_hash(pl.Series(mixed), DRAW), strict=True))
    assert {g: after[g] for g in before} == before


@given(ROWS, ROWS, st.sampled_from(["keep", "drop"]))
@settings(max_examples=100, deadline=None)
def test_a_row_added_can_withhold_an_old_one_but_not_move_it(
    old: list[tuple[str, int, str]], new: list[tuple[str, int, str]], copies: str
) -> None:
    rows = frame(old + new)
    rows = rows.with_columns(split=assignment.by_hash(rows["group"], DRAW))
    first = rows.head(len(old))
    assert assignment.by_hash(first["group"], DRAW).to_list() == rows["split"].to_list()[: len(old)]
    gone = assignment.withheld(first, copies=copies).is_not_null()
    gone_later = assignment.withheld(rows, copies=copies).is_not_null().head(len(old))
    assert (gone_later | ~gone).all()  # a row once withheld is not taken back
    assert copies == "drop" or not (gone_later & (first["split"] == "test")).any()


@given(ROWS, st.sampled_from(["keep", "drop"]))
@settings(max_examples=200, deadline=None)
def test_a_group_and_a_cluster_never_cross_the_split(rows: list[tuple[str, int, str]], copies: str) -> None:
    table = frame(rows)
    used = table.filter(assignment.withheld(table, copies=copies).is_null())
    for column in ("group", "cluster"):
        assert (used.group_by(column).agg(pl.col("split").n_unique())["split"] == 1).all()
    assert used.height > 0
    if copies == "drop":
        assert used.select("cluster", "split").is_unique().all()


@given(ROWS)
@settings(max_examples=100, deadline=None)
def test_the_most_protected_row_of_a_cluster_stays(rows: list[tuple[str, int, str]]) -> None:
    table = frame([(f"{i}{g}", c, s) for i, (g, c, s) in enumerate(rows)])  # each its own group
    lost = assignment.withheld(table, copies="keep")
    for _, part in table.with_columns(lost=lost).group_by("cluster"):
        top = max(part["split"], key=SPLITS.index)
        assert ((part["split"] == top) == part["lost"].is_null()).all()


def test_each_reason_is_named() -> None:
    table = frame([("a", 1, "train"), ("a", 2, "test"), ("b", 2, "train"), ("c", 3, "train"), ("d", 3, "train")])
    reasons = ["group_in_another_split", None, "duplicate_in_another_split", None, "copy_in_the_same_split"]
    assert assignment.withheld(table, copies="drop").to_list() == reasons
    assert assignment.withheld(table, copies="keep").to_list() == [*reasons[:4], None]


def test_a_row_withheld_for_its_group_withholds_no_other() -> None:
    table = frame([("a", 1, "validation"), ("a", 2, "test"), ("b", 1, "train")])
    assert assignment.withheld(table, copies="keep").to_list() == ["group_in_another_split", None, None]


def test_each_reason_not_to_use_an_unlabelled_row_is_named() -> None:
    rows = [
        ("a", 1, "test", "x"), ("a", 2, "train", None),  # by source, one group may stand in two splits
        ("b", 1, "train", None), ("c", 3, "test", None), ("c", 4, "validation", None),
        ("d", 3, "train", None), ("e", 5, "train", "x"), ("f", 5, "train", None), ("f", 6, "train", None),
        ("g", 6, "train", None), ("h", 7, "train", "x"), ("i", 7, "train", None),
    ]  # fmt: skip
    table = frame([(group, cluster, split) for group, cluster, split, _ in rows])
    gone = pl.Series([None] * 10 + ["copy_in_the_same_split", None])
    table = table.with_columns(label=pl.Series([label for *_, label in rows]), withheld=gone)
    group, cluster, outside = "group_in_another_split", "duplicate_in_another_split", "unlabelled_outside_train"
    found = [None, group, cluster, outside, outside, cluster, *[None] * 6]
    assert assignment.withheld_unlabelled(table, copies="keep").to_list() == found
    found[7] = found[9] = "copy_in_the_same_split"
    assert assignment.withheld_unlabelled(table, copies="drop").to_list() == found


@given(ROWS, st.data(), st.sampled_from(["keep", "drop"]))
@settings(max_examples=150, deadline=None)
def test_an_unlabelled_row_is_learned_from_only_if_nothing_of_it_is_elsewhere(
    rows: list[tuple[str, int, str]], data: st.DataObject, copies: str
) -> None:
    labels = data.draw(st.lists(st.sampled_from(["x", None]), min_size=len(rows), max_size=len(rows)))
    table = frame(rows).with_columns(label=pl.Series(labels, dtype=pl.String), withheld=pl.lit(None, pl.String))
    table = table.with_columns(why=assignment.withheld_unlabelled(table, copies=copies))
    assert table.filter(pl.col("label").is_not_null())["why"].null_count() == table["label"].count()
    used = table.filter(pl.col("label").is_null() & pl.col("why").is_null())
    elsewhere = table.filter(pl.col("split") != "train")
    assert (used["split"] == "train").all()
    assert not set(used["group"]) & set(elsewhere["group"])
    assert not set(used["cluster"]) & set(elsewhere["cluster"])
    if copies == "drop":
        assert used["cluster"].is_unique().all()


def test_the_shares_come_out() -> None:
    splits = assignment.by_hash(pl.Series([f"g{i}" for i in range(20_000)]), DRAW).to_list()
    assert splits.count("test") / 20_000 == pytest.approx(0.3, abs=0.015)
    assert splits.count("validation") / 20_000 == pytest.approx(0.1, abs=0.01)


def test_the_assignment_is_the_same_in_every_version() -> None:
    """A change here would move test rows of deployed models into training."""
    known = [0.423375390193079, 0.033160784809138755, 0.07703170972031603]
    assert [assignment.uniform(group, "tidegate") for group in ("a", "tweets-1", "é")] == known


def test_a_smaller_test_share_moves_rows_from_test_to_train_only() -> None:
    groups = [f"g{i}" for i in range(2000)]
    wide, narrow = DRAW, Draw(salt="s", validation=0.1, test=0.2)
    moves = {(wide.split(g), narrow.split(g)) for g in groups}
    assert moves == {("test", "test"), ("test", "train"), ("train", "train"), ("validation", "validation")}


def times(*days: float | None) -> list[datetime | None]:
    return [None if day is None else START + timedelta(days=day) for day in days]


def test_a_group_goes_whole_to_the_split_of_its_first_time() -> None:
    rows = pl.DataFrame({"group": list("aabbcd"), "received_at": times(1, 30, None, 10, 20, 9.999)})
    splits = assignment.by_time(rows, validation=START + timedelta(days=10), test=START + timedelta(days=20))
    assert splits.to_list() == ["train", "train", "validation", "validation", "test", "train"]


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        (pl.DataFrame({"group": ["a"]}), "no column received_at"),
        (pl.DataFrame({"group": ["a", "b"], "received_at": times(1, None)}), "1 rows .* 'b'"),
    ],
)
def test_without_times_there_is_no_split_by_time(rows: pl.DataFrame, cause: str) -> None:
    with pytest.raises(DataError, match=cause):
        assignment.by_time(rows, validation=START, test=START)


def test_the_split_of_the_source_is_kept() -> None:
    rows = pl.DataFrame({"group": list("abc"), "split": ["train", "test", "validation"]})
    assert assignment.by_source(rows, DRAW).to_list() == ["train", "test", "validation"]


def test_missing_validation_rows_are_carved_out_of_train_by_group() -> None:
    groups = [f"g{i // 2}" for i in range(8000)]
    rows = pl.DataFrame({"group": groups, "split": ["train"] * 4000 + ["test"] * 4000})
    splits = assignment.by_source(rows, DRAW)
    assert splits[4000:].unique().to_list() == ["test"]
    assert (splits[:4000] == "validation").mean() == pytest.approx(0.1 / 0.7, abs=0.03)
    assert splits[:4000:2].to_list() == splits[1:4000:2].to_list()
    assert assignment.by_source(rows[:100], DRAW).to_list() == splits[:100].to_list()


def test_rows_that_the_source_did_not_split_are_split_by_hash() -> None:
    groups = [f"g{i}" for i in range(50)]
    rows = pl.DataFrame({"group": [*groups, "x"], "split": [*[None] * 50, "validation"]})
    assert assignment.by_source(rows, DRAW).to_list() == [*assignment.by_hash(pl.Series(groups), DRAW), "validation"]


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        (pl.DataFrame({"group": ["a"]}), "no column split"),
        (pl.DataFrame({"group": ["a", "b"], "split": ["train", "dev"]}), "'dev'"),
    ],
)
def test_another_word_in_the_split_column_is_refused(rows: pl.DataFrame, cause: str) -> None:
    with pytest.raises(DataError, match=cause):
        assignment.by_source(rows, DRAW)
