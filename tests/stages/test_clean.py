"""Clean: texts normalized, duplicates marked and kept, conflicts settled as the policy says, all of it counted."""

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import text
from tidegate.errors import DataError, ParamsError
from tidegate.params import bind
from tidegate.quality.duplicates import Nearness
from tidegate.stages import clean

PARAMS = clean.Params(
    mend_unicode=True, strip_markup=True, mask=("url", "email", "card", "phone"), max_characters=1000,
    near=clean.Near(threshold=0.7, shingle=4, permutations=64), conflicting="majority",
)  # fmt: skip
NEAR = Nearness(threshold=0.7, shingle=4, permutations=64)


def records(*rows: tuple[str, str, str]) -> pl.DataFrame:
    ids, texts, labels = zip(*rows, strict=True) if rows else ((), (), ())
    columns = {"id": ids, "text": texts, "label": labels, "group": ids, "origin": ["source"] * len(ids)}
    return pl.DataFrame({**columns, "channel": ["mail"] * len(ids)}, schema_overrides=dict.fromkeys(columns, pl.String))


def cleaned(tmp_path: Path, frame: pl.DataFrame, params: clean.Params = PARAMS) -> tuple[pl.DataFrame, dict]:
    frame.write_parquet(tmp_path / "valid.parquet")
    paths = {"clean": tmp_path / "clean.parquet", "normalization": tmp_path / "normalization.json"}
    clean.run(params, valid=tmp_path / "valid.parquet", cleaning=tmp_path / "cleaning.json", **paths)
    return pl.read_parquet(tmp_path / "clean.parquet"), json.loads((tmp_path / "cleaning.json").read_text())


def test_rows_are_normalized_marked_and_counted(tmp_path: Path) -> None:
    frame = records(
        ("b", "<b>A picture</b> of the old bridge, cafÃ©", "good"),
        ("a", "a picture of the old bridge, café", "good"),
        ("c", "A picture of the very old bridge, café!!", "bad"),
        ("d", "write to me@example.com", "bad"),
        ("e", " <br> ", "bad"),
    )
    rows, found = cleaned(tmp_path, frame)
    assert rows.columns == [*frame.columns, "cluster"]
    assert rows.select("id", "text", "cluster").rows() == [
        ("b", "A picture of the old bridge, café", "a"),
        ("a", "a picture of the old bridge, café", "a"),
        ("c", "A picture of the very old bridge, café!!", "a"),
        ("d", "write to [email]", "d"),
    ]
    assert found == {
        "rows_in": 5, "rows_out": 4, "emptied": 1, "mended": 1, "markup_stripped": 2, "cut": 0,
        "masked": {"url": 0, "email": 1, "card": 0, "phone": 0},
        "exact_duplicates": 1, "near_duplicates": 1, "clusters": 1, "largest_cluster": 3,
        "conflicting": {"clusters": 0, "rows": 0, "dropped": 0, "policy": "majority"},
    }  # fmt: skip


def test_the_package_can_repeat_what_was_done(tmp_path: Path) -> None:
    rows, _ = cleaned(tmp_path, records(("a", "see <i>www.example.org</i> &amp; call 555-0123", "x")))
    options = text.Normalization.from_json(json.loads((tmp_path / "normalization.json").read_text()))
    assert rows["text"].to_list() == [text.normalize("see <i>www.example.org</i> &amp; call 555-0123", options)]


@pytest.mark.parametrize(
    ("policy", "kept", "dropped"), [("drop", ["f"], 5), ("majority", ["a", "b", "f"], 3), ("keep", list("abcdef"), 0)]
)
def test_conflicting_labels_are_settled_by_the_policy(policy: str, kept: list[str], dropped: int) -> None:
    rows = records(
        ("a", "same", "x"), ("b", "Same", "x"), ("c", "SAME", "y"),
        ("d", "tie", "x"), ("e", "tie", "y"), ("f", "alone", "y"),
    ).select("id", "label", "text")  # fmt: skip
    decided, found = clean.decide(rows, NEAR, policy)
    assert rows.filter(decided["cluster"].is_not_null())["id"].to_list() == kept
    assert found["conflicting"] == {"clusters": 2, "rows": 5, "dropped": dropped, "policy": policy}


@pytest.mark.parametrize(("policy", "kept"), [("drop", "acdg"), ("majority", "acdefg"), ("keep", "abcdefg")])
def test_a_row_without_a_label_is_in_no_conflict_and_stays(policy: str, kept: str) -> None:
    rows = records(
        ("a", "same", "x"), ("b", "tie", "x"), ("c", "Same", "?"), ("d", "tie", "?"), ("e", "tie", "y"),
        ("f", "TIE", "y"), ("g", "alone", "?"),
    ).select("id", "text", label=pl.col("label").replace("?", None))  # fmt: skip
    decided, found = clean.decide(rows, NEAR, policy)
    assert "".join(rows.filter(decided["cluster"].is_not_null())["id"]) == kept
    assert found["conflicting"] == {"clusters": 1, "rows": 3, "dropped": 7 - len(kept), "policy": policy}
    assert found["exact_duplicates"] == len(kept) - 3


def test_a_text_without_a_label_is_normalized_and_tied_like_any(tmp_path: Path) -> None:
    frame = records(("b", "<b>A picture</b> of the old bridge", "x"), ("a", "a picture of the old bridge", "y"))
    rows, _ = cleaned(tmp_path, frame.with_columns(label=pl.Series([None, "y"])))
    assert rows.select("text", "label", "cluster").rows() == [
        ("A picture of the old bridge", None, "a"), ("a picture of the old bridge", "y", "a"),
    ]  # fmt: skip


def test_the_cluster_has_the_smallest_id_whatever_the_order() -> None:
    rows = records(
        ("z", "one two three four", "x"), ("m", "something else here", "x"), ("k", "One two three four!", "x")
    )
    for order in ([0, 1, 2], [2, 1, 0]):
        shuffled = rows.select("id", "label", "text")[order]
        decided, _ = clean.decide(shuffled, NEAR, "keep")
        assert dict(zip(shuffled["id"], decided["cluster"], strict=True)) == {"z": "k", "m": "m", "k": "k"}


@given(st.lists(st.tuples(st.sampled_from(["", "yes", "Yes", "no way", "a long sentence", "a long sentences"]),
                          st.sampled_from("xyz")), min_size=1, max_size=20),
       st.sampled_from(["drop", "majority", "keep"]))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_every_row_is_accounted_for(pairs: list[tuple[str, str]], policy: str) -> None:
    rows = pl.DataFrame({"id": [f"{i:02}" for i in range(len(pairs))], "text": [t for t, _ in pairs],
                         "label": [label for _, label in pairs]})  # fmt: skip
    decided, found = clean.decide(rows, NEAR, policy)
    kept = rows.with_columns(decided["cluster"]).filter(pl.col("cluster").is_not_null())
    assert found["rows_in"] == found["rows_out"] + found["emptied"] + found["conflicting"]["dropped"]
    assert found["rows_out"] == found["exact_duplicates"] + found["near_duplicates"] + kept["cluster"].n_unique()
    if policy != "keep":
        labels = kept.group_by(pl.col("text").str.to_lowercase()).agg(pl.col("label").n_unique())
        assert labels["label"].max() in (1, None)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    frame = records(*[(f"{i:05}", f"text number {i % 700} with words", "x") for i in range(3000)])
    cleaned(tmp_path, frame)
    first = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    cleaned(tmp_path, frame)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == first


def test_batches_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = records(*[(f"{i:03}", f"<p>text number {i % 70} with words</p>", "x") for i in range(200)])
    whole = cleaned(tmp_path, frame)
    monkeypatch.setattr(clean, "_BATCH", 7)
    parts = cleaned(tmp_path, frame)
    assert parts[0].equals(whole[0])
    assert parts[1] == whole[1]


def test_a_huge_cell_is_cut_and_counted(tmp_path: Path) -> None:
    rows, found = cleaned(tmp_path, records(("a", "word " * 2_000_000, "x")))
    assert rows["text"].str.len_chars().to_list() == [999]
    assert found["cut"] == 1


@pytest.mark.parametrize("frame", [records(("a", "<br>", "x"), ("b", "", "y")), records()])
def test_no_row_left_is_an_error_that_writes_nothing(tmp_path: Path, frame: pl.DataFrame) -> None:
    with pytest.raises(DataError, match=r"no row is left of \d"):
        cleaned(tmp_path, frame)
    assert [p.name for p in tmp_path.iterdir()] == ["valid.parquet"]


def test_a_text_that_is_missing_counts_as_empty(tmp_path: Path) -> None:
    frame = records(("a", "kept", "x"), ("b", "gone", "x")).with_columns(text=pl.Series(["kept", None]))
    rows, found = cleaned(tmp_path, frame)
    assert (rows["id"].to_list(), found["emptied"]) == (["a"], 1)


def test_only_what_is_asked_for_is_done(tmp_path: Path) -> None:
    plain = replace(PARAMS, mend_unicode=False, strip_markup=False, mask=())
    rows, found = cleaned(tmp_path, records(("a", "<b>cafÃ©</b> a@b.com", "x")), plain)
    assert rows["text"].to_list() == ["<b>cafÃ©</b> a@b.com"]
    assert found["masked"] == {}


def test_a_wrong_kind_is_refused() -> None:
    raw = {"mend_unicode": True, "strip_markup": True, "mask": ["iban"], "max_characters": 5, "conflicting": "keep",
           "near": {"threshold": 0.2, "shingle": 4, "permutations": 64}}  # fmt: skip
    with pytest.raises(ParamsError, match=r"(?s)clean\.mask\[0\].*clean\.max_characters.*clean\.near\.threshold"):
        bind(clean.Params, raw, section="clean")
