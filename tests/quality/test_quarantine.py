"""Row rules, their reasons, and the table that the expectations see."""

import errno
import string
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import DataError
from tidegate.quality import quarantine

SCHEMA = {column: pl.String() for column in (*quarantine.REQUIRED, "shop")}


def marked(labels: list[str] | None = None, **columns: list[str | None]) -> pl.DataFrame:
    rows = len(next(iter(columns.values())))
    good = {"id": [str(i) for i in range(rows)], "text": ["fine"] * rows, "label": ["a"] * rows, "group": ["g"] * rows}
    table = pl.DataFrame({**good, **columns}, schema=dict.fromkeys(good, pl.String))
    rules = quarantine.row_rules(shortest=2, longest=5, labels=labels)
    return table.lazy().with_columns(quarantine.reason(rules)).collect()


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("id", None, "id is null"),
        ("group", None, "group is null"),
        ("text", None, "text is null"),
        ("text", "", "text is shorter than 2 characters"),
        ("text", " a\n", "text is shorter than 2 characters"),
        ("text", " ab ", None),
        ("text", "éééé\N{GRINNING FACE}", None),
        ("text", "abcdef", "text is longer than 5 characters"),
        ("label", None, "label is null or blank"),
        ("label", " ", "label is null or blank"),
        ("label", "c", "label is not in the label set"),
        ("label", "b", None),
    ],
)
def test_a_row_rule_tells_its_reason(column: str, cell: str | None, reason: str | None) -> None:
    assert marked(["a", "b"], **{column: [cell]})["reason"].to_list() == [reason]


def test_any_label_will_do_where_no_set_is_given() -> None:
    assert marked(label=["a", "zebra"])["reason"].to_list() == [None, None]


def test_a_row_may_lack_a_label_where_that_is_allowed() -> None:
    rules = quarantine.row_rules(shortest=2, longest=5, labels=["a"], unlabelled=True)
    table = pl.DataFrame({"id": list("1234"), "text": ["fine"] * 4, "label": ["a", None, " ", "c"], "group": ["g"] * 4})
    found = table.lazy().with_columns(quarantine.reason(rules))
    assert found.collect()["reason"].to_list() == [None, None, None, "label is not in the label set"]
    assert quarantine.good_labels(found) == ["a"]
    frame = quarantine.examined(found, columns=["id", "text", "label"], longest=5)
    assert frame["share_of_label"].to_list() == [1.0, None, None, None]
    assert quarantine.labelled(frame)["id"].to_list() == ["1", "4"]
    assert quarantine.kept(frame) == 2


def test_the_first_of_several_rows_keeps_the_id() -> None:
    found = marked(id=["x", "y", "x", "x", None, None])["reason"].to_list()
    again = "id was seen in an earlier row"
    assert found == [None, None, again, again, "id is null", "id is null"]


def test_a_row_has_all_its_reasons_and_counts_for_each() -> None:
    found = marked(text=[None, None, "fine"], label=[None, "a", "a"])["reason"]
    assert found.to_list() == ["text is null; label is null or blank", "text is null", None]
    assert quarantine.counts(found) == {"text is null": 2, "label is null or blank": 1}


def test_no_bad_row_means_no_reasons() -> None:
    assert quarantine.counts(marked(text=["fine"])["reason"]) == {}
    assert quarantine.counts(pl.Series("reason", [], dtype=pl.String)) == {}


CELLS = st.one_of(st.none(), st.text(alphabet=string.ascii_lowercase + " ", max_size=7))


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8))
def test_good_rows_have_all_that_later_stages_rely_on(rows: list[tuple[str | None, str | None, str | None]]) -> None:
    ids, texts, labels = (list(column) for column in zip(*rows, strict=True))
    table = marked(id=ids, text=texts, label=labels)
    good = table.filter(pl.col("reason").is_null())
    assert good["id"].is_unique().all()
    assert good.select("id", "text", "label").null_count().sum_horizontal().item() == 0
    assert all(2 <= len(text.strip()) <= 5 for text in good["text"])
    assert all(label.strip() for label in good["label"])
    assert good.height + table["reason"].count() == len(rows)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, []),
        ({"received_at": pl.Datetime("us", "UTC"), "split": pl.String()}, []),
        ({"label": pl.Int64()}, ["column 'label' is of type Int64, not text"]),
        ({"text": pl.List(pl.String())}, ["column 'text' is of type List(String), not text"]),
        ({"received_at": pl.String()}, ["column 'received_at' is of type String, not time"]),
        ({"split": pl.Int8()}, ["column 'split' is of type Int8, not text"]),
        ({"shop": pl.Categorical()}, ["column 'shop' is of type Categorical, not text"]),
    ],
)
def test_a_column_of_a_wrong_type_is_a_misfit(more: dict[str, pl.DataType], told: list[str]) -> None:
    assert list(quarantine.misfits({**SCHEMA, **more}, ["shop"])) == told


def test_a_missing_column_is_a_misfit() -> None:
    rest = {column: dtype for column, dtype in SCHEMA.items() if column not in ("label", "shop")}
    there = "(there are id, text, group, origin)"
    assert list(quarantine.misfits(rest, ["shop"])) == [
        f"column 'label' is missing {there}", f"column 'shop' is missing {there}",
    ]  # fmt: skip


def test_a_column_that_would_be_overwritten_is_a_misfit() -> None:
    assert list(quarantine.misfits({**SCHEMA, "reason": pl.String()}, ["shop", "reason"])) == [
        "column 'reason' bears a name that is needed here"
    ]


def test_a_long_list_of_labels_is_cut() -> None:
    assert quarantine.listed({"a": 1200, "b": 0}) == "a 1,200, b 0"
    assert quarantine.listed({str(i): i for i in range(5)}, most=2) == "0 0, 1 1, and 3 more"


@pytest.mark.parametrize(
    ("labels", "pairs"),
    [
        (["a", "b"], []),
        (["Yes", "no", "yes "], [("Yes", "yes ")]),
        (["a  b", "a b"], [("a  b", "a b")]),
        (["STRASSE", "straße"], [("STRASSE", "straße")]),
        ([], []),
    ],
)
def test_labels_that_look_alike_are_found(labels: list[str], pairs: list[tuple[str, str]]) -> None:
    assert quarantine.lookalikes(labels) == pairs


def test_the_examined_table_cuts_huge_texts_and_counts_good_rows_only() -> None:
    table = marked(text=["x" * 10**6, " fine ", "fine", "fine"], label=["a", "a", "b", "b"]).lazy()
    found = quarantine.examined(table, columns=["id", "text", "label"], longest=5)
    assert found["text"].to_list() == ["x" * 6, "fine", "fine", "fine"]
    assert found["good_label"].to_list() == [None, "a", "b", "b"]
    assert found["rows_of_label"].to_list() == [None, 1, 2, 2]
    assert found["share_of_label"].to_list() == [None, 1 / 3, 2 / 3, 2 / 3]
    assert quarantine.label_counts(found, ["b", "a", "c"]) == {"b": 2, "a": 1, "c": 0}


def test_a_column_without_any_value_is_read_as_text(tmp_path: Path) -> None:
    pl.DataFrame({"text": [None, None], "at": [datetime(2020, 1, 1, tzinfo=UTC)] * 2}).write_parquet(tmp_path / "t")
    with quarantine.reading(tmp_path / "t") as table:
        assert table.collect_schema() == {"text": pl.String(), "at": pl.Datetime("us", "UTC")}


def test_a_file_that_is_no_table_is_a_domain_error(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"id,text")
    with pytest.raises(DataError, match="is damaged or no Parquet"), quarantine.reading(tmp_path / "t"):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_not_told_as_a_damaged_input(tmp_path: Path) -> None:
    marked(text=["fine"] * 1000).write_parquet(tmp_path / "t")
    with (
        pytest.raises(DataError, match=r"^/dev/full: no space is left on the disk"),
        quarantine.reading(tmp_path / "t") as table,
    ):
        quarantine.write(table, bad=False, path=Path("/dev/full"))


def test_a_full_temporary_folder_is_named(tmp_path: Path) -> None:
    marked(text=["fine"]).write_parquet(tmp_path / "t")
    with pytest.raises(DataError, match=r"^/tmp/page: no space is left"), quarantine.reading(tmp_path / "t"):
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/page")


def test_an_error_of_writing_does_not_ask_for_the_inputs_deletion(tmp_path: Path) -> None:
    marked(text=["fine"]).write_parquet(tmp_path / "t")
    with pytest.raises(pl.exceptions.ComputeError), quarantine.reading(tmp_path / "t"):
        raise pl.exceptions.ComputeError("parquet: underlying IO error: Input/output error (os error 5)")


def test_a_long_label_is_cut() -> None:
    assert quarantine.listed({"x" * 41: 3, "y" * 40: 2}) == f"{'x' * 39}… 3, {'y' * 40} 2"
