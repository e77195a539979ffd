from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate.errors import DataError
from tidegate.intake import shaping, tables


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with tables.connect(tmp_path / "test.duckdb") as opened:
        yield opened


def shape(
    connection: duckdb.DuckDBPyConnection, folder: Path, query: str, *,
    slices: Sequence[str] = (), most: int | None = None, seed: int = 1, feedback: Path | None = None,
) -> tuple[polars.DataFrame, tuple[str, ...]]:  # fmt: skip
    connection.execute(f"CREATE TABLE main.mine AS {query}")
    shaped = shaping.complete(connection, "main.mine", slices)
    shaping.sample(connection, most, seed)
    shaping.write(connection, folder / "records.parquet", shaped, slices, feedback)
    return polars.read_parquet(folder / "records.parquet"), shaped.notes


def test_columns_come_in_the_contracts_order_and_types(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    frame, notes = shape(
        connection, tmp_path,
        "SELECT 5 AS \"Group\", 'test' AS split, 2.5 AS age, '2024-02-01 10:00+02' AS received_at, "
        "7 AS id, 1 AS label, 'a' AS TEXT",
        slices=["age"],
    )  # fmt: skip
    assert frame.row(0, named=True) == {
        "id": "7", "text": "a", "label": "1", "group": "5", "origin": "source",
        "received_at": datetime(2024, 2, 1, 8, tzinfo=UTC), "split": "test", "age": "2.5",
    }  # fmt: skip
    assert frame.columns == ["id", "text", "label", "group", "origin", "received_at", "split", "age"]
    assert frame.schema["received_at"] == polars.Datetime("us", "UTC")
    assert notes == ()


def test_rows_keep_their_order_across_row_groups(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    query = "SELECT 'i' || range AS id, 'text' AS text, 'x' AS label, range % 97 AS \"group\" FROM range(250000)"
    frame, _ = shape(connection, tmp_path, query, most=200_000)
    numbers = frame["id"].str.slice(1).cast(int).to_list()
    assert 195_000 < len(numbers) <= 200_000
    assert numbers == sorted(numbers)


def test_a_null_text_or_label_stays_null(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    frame, _ = shape(connection, tmp_path, "SELECT * FROM (VALUES ('a', NULL), (NULL, 'x')) AS t(text, label)")
    assert frame.select("text", "label").rows() == [("a", None), (None, "x")]
    assert frame["id"].n_unique() == 2


def test_what_is_filled_in_or_left_out_is_said(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    _, notes = shape(connection, tmp_path, "SELECT 'a' AS text, 'x' AS label, 1 AS Rating")
    assert notes == (
        "id: derived from the content (the source has none)",
        "group: the id (the source has none)",
        "columns left out: Rating",
    )


def test_single_missing_ids_and_groups_are_filled_in_and_counted(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    rows = "('i', 'a', 'g'), (NULL, 'b', 'g'), ('j', 'c', NULL), (NULL, 'd', NULL)"
    frame, notes = shape(connection, tmp_path, f"SELECT *, 'x' AS label FROM (VALUES {rows}) AS t(id, text, \"group\")")
    ids, groups = frame["id"].to_list(), frame["group"].to_list()
    assert ids[0] == "i"
    assert ids[2] == "j"
    assert groups == ["g", "g", "j", ids[3]]
    assert notes == (
        "id: derived from the content (2 of 4 rows without one)", "group: the id (2 of 4 rows without one)"
    )  # fmt: skip


contents = st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from(["x", "y", None])), min_size=1)


def derived_ids(rows: list[tuple[str | None, str | None]]) -> list[str]:
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA work; CREATE TABLE mine (text VARCHAR, label VARCHAR)")
        connection.executemany("INSERT INTO mine VALUES (?, ?)", rows)
        shaping.complete(connection, "memory.main.mine", [])
        return [id for (id,) in connection.execute("SELECT id FROM keys ORDER BY row").fetchall()]  # noqa: A001


@given(old=contents, new=contents, random=st.randoms())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_added_or_shuffled_rows_never_rename_an_old_one(old: Any, new: Any, random: Any) -> None:
    before = Counter(zip(derived_ids(old), old, strict=True))
    everything = [*old, *new]
    random.shuffle(everything)
    after = Counter(zip(derived_ids(everything), everything, strict=True))
    assert len({id for id, _ in after}) == len(everything)  # noqa: A001
    assert before <= after


def test_rows_that_differ_in_any_part_have_different_ids(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    rows = "('a', 'b', 'c'), ('ab', '', 'c'), ('a', NULL, 'bc'), ('a', 'b', NULL), ('a\",\"b', NULL, NULL)"
    rows += ", ('a', 'b', 'c')"
    frame, _ = shape(connection, tmp_path, f'SELECT * FROM (VALUES {rows}) AS t(text, label, "group")')
    assert frame["id"].n_unique() == 6
    assert frame["id"][5] == f"{frame['id'][0]}-2"


# --- sampling


def sampled(folder: Path, most: int | None, seed: int = 1, shift: int = 0) -> set[str]:
    folder.mkdir()
    query = f"""
        SELECT 'i' || range AS id, 'text' AS text, 'x' AS label, 'g' || range // 3 AS "group" FROM range({shift}, 600)
    """
    with tables.connect(folder / "test.duckdb") as connection:
        frame, _ = shape(connection, folder, query, most=most, seed=seed)
    return set(frame["id"])


def test_a_sample_has_whole_groups_and_at_most_the_rows_asked_for(tmp_path: Path) -> None:
    ids = sampled(tmp_path / "a", 100)
    sizes = Counter(int(name[1:]) // 3 for name in ids)
    assert set(sizes.values()) == {3}
    assert len(ids) == 99


def test_a_larger_sample_holds_the_smaller_one(tmp_path: Path) -> None:
    small, large, everything = (sampled(tmp_path / str(most), most) for most in (100, 301, None))
    assert small < large < everything


def test_a_sample_depends_on_the_seed_alone(tmp_path: Path) -> None:
    assert sampled(tmp_path / "a", 100) == sampled(tmp_path / "b", 100) != sampled(tmp_path / "c", 100, seed=2)


def test_added_groups_move_few(tmp_path: Path) -> None:
    before, after = sampled(tmp_path / "a", 300, shift=60), sampled(tmp_path / "b", 300)
    assert len(before & after) > 0.85 * len(before)


def test_a_group_that_does_not_fit_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"max_rows: the group that comes first has more than 2 rows"):
        sampled(tmp_path / "a", 2)


# --- feedback


def test_feedback_comes_after_the_source_and_is_never_sampled_away(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    feedback = tmp_path / "feedback.parquet"
    moment = datetime(2025, 1, 2, tzinfo=UTC)
    polars.DataFrame({
        "received_at": [moment, moment], "id": ["f1", "f2"], "text": ["new", "newer"], "label": ["x", "y"],
        "group": ["f1", "f1"], "origin": ["other", "other"], "channel": ["web", "web"], "extra": [1, 2],
    }).write_parquet(feedback)  # fmt: skip
    query = "SELECT 'i' || range AS id, 'a' AS text, 'x' AS label, 'shop' AS channel FROM range(9)"
    frame, _ = shape(
        connection,
        tmp_path,
        query,
        slices=[
            "channel",
        ],
        most=1,
        feedback=feedback,
    )
    assert frame.columns == ["id", "text", "label", "group", "origin", "received_at", "channel"]
    assert frame["origin"].to_list() == ["source", "feedback", "feedback"]
    assert frame["received_at"].to_list() == [None, moment, moment]
    assert frame.rows()[1:] == [
        ("f1", "new", "x", "f1", "feedback", moment, "web"), ("f2", "newer", "y", "f1", "feedback", moment, "web")
    ]  # fmt: skip


def test_feedback_without_a_column_is_refused(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    polars.DataFrame({"id": ["f1"], "text": ["new"], "group": ["f1"]}).write_parquet(tmp_path / "feedback.parquet")
    with pytest.raises(DataError, match=r"the feedback snapshot .* has no column label, received_at"):
        shape(connection, tmp_path, "SELECT 'a' AS text, 'x' AS label", feedback=tmp_path / "feedback.parquet")


# --- bad input


@pytest.mark.parametrize(
    ("query", "slices", "cause"),
    [
        (
            "SELECT 'a' AS texts, 'x' AS label",
            [],
            r"column 'text': is not among texts, label \(did you mean 'texts'\?\)",
        ),
        ("SELECT 'a' AS text", [], "column 'label': is not among text"),
        ("SELECT 'a' AS text, 'x' AS label", ["channel"], "column 'channel': is not among text, label"),
        ("SELECT 'a' AS text, 'x' AS label WHERE false", [], "the sources give no row"),
        ("SELECT repeat('a', 10000000) AS text, 'x' AS label", [], "the text of row 1: has 10,000,000 bytes"),
        ("SELECT 'a' AS text, repeat('x', 2000000) AS label", [], "the label of row 1: has 2,000,000 bytes"),
        ("SELECT 'a' AS text, 'x' AS label, 'yesterday' AS received_at", [], "invalid timestamp"),
        ("SELECT 'a' AS text, 'x' AS label, 5 AS received_at", [], "INTEGER -> TIMESTAMP WITH TIME ZONE"),
    ],
)
def test_a_table_that_makes_no_records_is_a_data_error(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, query: str, slices: list[str], cause: str
) -> None:
    with pytest.raises(DataError, match=cause) as caught:
        shape(connection, tmp_path, query, slices=slices)
    assert caught.value.remedy
    assert len(str(caught.value)) < 600
    assert not (tmp_path / "records.parquet").exists()
