"""Split: files that share no group and no cluster, what they hold, and refusals that say what to do."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import polars as pl
import pytest

from tidegate import files
from tidegate.errors import DataError, ParamsError
from tidegate.params import bind
from tidegate.stages import split

RAW = {
    "by": "hash", "shares": {"train": 0.6, "validation": 0.1, "test": 0.3}, "salt": "s", "boundaries": None,
    "copies": "keep", "leakage": {"threshold": 0.7, "shingle": 4, "permutations": 64},
}  # fmt: skip
PARAMS = bind(split.Params, RAW, section="split")


def records(count: int = 400) -> pl.DataFrame:
    """Rows in groups of two, with texts that have little in common, of two labels."""
    rows = [
        {"id": f"{i:04}", "text": f"{i * 7919:08} {i * 104_729:09} words", "label": "xy"[i % 3 == 0],
         "group": f"g{i // 2}", "origin": "source", "channel": "mail", "cluster": f"{i:04}"}
        for i in range(count)
    ]  # fmt: skip
    return pl.DataFrame(rows)


def divided(folder: Path, frame: pl.DataFrame, params: split.Params = PARAMS) -> dict[str, pl.DataFrame]:
    frame.write_parquet(folder / "clean.parquet")
    files.write_json(folder / "task.json", {"labels": ["x", "y"]})
    outs = {name: folder / f"{name}.parquet" for name in ("train", "validation", "test")}
    split.run(params, clean=folder / "clean.parquet", task=folder / "task.json", **outs,
              unlabelled=folder / "unlabelled.parquet", splits=folder / "splits.json",
              leakage=folder / "leakage.json")  # fmt: skip
    return {name: pl.read_parquet(path) for name, path in outs.items()}


def test_every_row_goes_to_one_split_with_its_columns(tmp_path: Path) -> None:
    frame = records()
    parts = divided(tmp_path, frame)
    assert all(part.columns == frame.columns for part in parts.values())
    assert pl.concat(parts.values()).sort("id").equals(frame)
    found = json.loads((tmp_path / "splits.json").read_text())
    assert found["withheld"] == {}
    for name, part in parts.items():
        assert found[name] == {
            "rows": part.height, "groups": part["group"].n_unique(), "share": part.height / 400,
            "labels": {label: (part["label"] == label).sum() for label in "xy"},
        }  # fmt: skip


def test_a_group_never_crosses_the_split(tmp_path: Path) -> None:
    parts = divided(tmp_path, records())
    groups = [set(part["group"]) for part in parts.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 200


def test_a_cluster_stays_in_its_most_protected_split_and_the_rest_is_counted(tmp_path: Path) -> None:
    before = divided(tmp_path, records())
    members = [before[name]["id"][0] for name in ("train", "validation", "test")]
    joined = pl.when(pl.col("id").is_in(members)).then(pl.lit(min(members))).otherwise("cluster")
    after = divided(tmp_path, records().with_columns(cluster=joined))
    assert [set(before[n]["id"]) - set(after[n]["id"]) for n in before] == [{members[0]}, {members[1]}, set()]
    assert all(set(after[n]["id"]) <= set(before[n]["id"]) for n in before)
    assert json.loads((tmp_path / "splits.json").read_text())["withheld"] == {"duplicate_in_another_split": 2}
    assert json.loads((tmp_path / "leakage.json").read_text())["withheld"] == 2


def test_what_the_clusters_missed_is_reported(tmp_path: Path) -> None:
    before = divided(tmp_path, records())
    ids = [before["train"]["id"][0], before["test"]["id"][0]]
    same = pl.when(pl.col("id").is_in(ids)).then(pl.lit("a text that stands in two splits")).otherwise("text")
    divided(tmp_path, records().with_columns(text=same))
    found = json.loads((tmp_path / "leakage.json").read_text())
    assert (found["groups_crossing"], found["exact_crossing"], found["near_crossing"]) == (0, 1, 0)
    assert found["examples"][0]["ids"] == ids


def test_copies_within_a_split_are_kept_or_dropped(tmp_path: Path) -> None:
    frame = records().with_columns(cluster=pl.col("group"))
    assert sum(part.height for part in divided(tmp_path, frame).values()) == 400
    dropped = divided(tmp_path, frame, replace(PARAMS, copies="drop"))
    assert sum(part.height for part in dropped.values()) == 200
    assert json.loads((tmp_path / "splits.json").read_text())["withheld"] == {"copy_in_the_same_split": 200}


def without_labels(frame: pl.DataFrame, ids: list[str]) -> pl.DataFrame:
    return frame.with_columns(label=pl.when(~pl.col("id").is_in(ids)).then("label"))


def test_without_unlabelled_rows_their_file_is_empty_and_has_all_columns(tmp_path: Path) -> None:
    frame = records()
    divided(tmp_path, frame)
    assert pl.read_parquet_schema(tmp_path / "unlabelled.parquet") == frame.schema
    assert pl.read_parquet(tmp_path / "unlabelled.parquet").height == 0
    assert "unlabelled" not in json.loads((tmp_path / "splits.json").read_text())


def test_unlabelled_rows_are_learned_from_where_they_fall_to_train(tmp_path: Path) -> None:
    """Every fourth row, which has a group of its own, and a labelled row of each split loses a sibling."""
    frame = records()
    before = divided(tmp_path, frame)
    siblings = [part["id"][0] for part in before.values()]
    ids = siblings + [i for i in frame["id"] if int(i) % 8 in (2, 3)]
    after = divided(tmp_path, without_labels(frame, ids))
    assert all(after[name].equals(before[name].filter(~pl.col("id").is_in(ids))) for name in before)
    found = pl.read_parquet(tmp_path / "unlabelled.parquet")
    assert found.equals(without_labels(before["train"], ids).filter(pl.col("label").is_null()))
    counts = json.loads((tmp_path / "splits.json").read_text())
    assert counts["unlabelled"] == {"rows": found.height, "groups": found["group"].n_unique()}
    assert counts["train"]["rows"] + counts["validation"]["rows"] + counts["test"]["rows"] == 400 - len(set(ids))
    assert sum(counts["train"]["labels"].values()) == after["train"].height
    assert counts["withheld"] == {"unlabelled_outside_train": len(set(ids)) - found.height}


def test_an_unlabelled_row_of_a_group_with_a_test_row_is_not_used(tmp_path: Path) -> None:
    frame = records().with_columns(split=pl.Series(["train"] * 201 + ["test"] * 199))  # g100 stands in both
    by_source = replace(PARAMS, by="source")
    parts = divided(tmp_path, without_labels(frame, ["0200", "0198"]), by_source)
    assert "0201" in parts["test"]["id"]
    assert pl.read_parquet(tmp_path / "unlabelled.parquet")["id"].to_list() == ["0198"]
    assert json.loads((tmp_path / "splits.json").read_text())["withheld"] == {"group_in_another_split": 1}
    parts = divided(tmp_path, without_labels(frame, ["0201"]), by_source)
    assert "0200" in parts["train"]["id"]  # no row of test is left that it could leak to


def test_a_near_duplicate_of_a_test_text_is_not_learned_from(tmp_path: Path) -> None:
    before = divided(tmp_path, records())
    copy, kept, original = before["train"]["id"][0], before["train"]["id"][1], before["test"]["id"][0]
    tied = records().with_columns(cluster=pl.when(id=copy).then(pl.lit(original)).otherwise("cluster"))
    after = divided(tmp_path, without_labels(tied, [copy, kept]))
    assert original in after["test"]["id"]
    assert pl.read_parquet(tmp_path / "unlabelled.parquet")["id"].to_list() == [kept]
    assert json.loads((tmp_path / "splits.json").read_text())["withheld"] == {"duplicate_in_another_split": 1}


def test_the_report_finds_an_unlabelled_text_that_stands_in_test(tmp_path: Path) -> None:
    before = divided(tmp_path, records())
    ids = [before["train"]["id"][0], before["test"]["id"][0]]
    same = pl.when(pl.col("id").is_in(ids)).then(pl.lit("a text that stands in two splits")).otherwise("text")
    divided(tmp_path, without_labels(records().with_columns(text=same), ids[:1]))
    found = json.loads((tmp_path / "leakage.json").read_text())
    assert (found["groups_crossing"], found["exact_crossing"], found["near_crossing"]) == (0, 1, 0)
    assert found["examples"][0] == {"kind": "exact", "ids": ids, "splits": ["unlabelled", "test"], "similarity": 1.0}


@pytest.mark.parametrize("copies", ["keep", "drop"])
def test_an_unlabelled_copy_takes_no_place_of_a_labelled_row(tmp_path: Path, copies: Literal["keep", "drop"]) -> None:
    """The first row of each group loses its label, and has the smaller id of its cluster."""
    frame = records().with_columns(cluster=pl.col("id").min().over("group"))
    firsts = frame["id"].gather_every(2).to_list()
    parts = divided(tmp_path, without_labels(frame, firsts), replace(PARAMS, copies=copies))
    assert sum(part.height for part in parts.values()) == 200
    used = pl.read_parquet(tmp_path / "unlabelled.parquet").height
    assert used == (parts["train"].height if copies == "keep" else 0)


def test_it_splits_by_time(tmp_path: Path) -> None:
    days = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 1, 1) + pl.duration(days=399), "1d")
    frame = records().with_columns(received_at=days.dt.replace_time_zone("UTC"))
    bounds = split.Boundaries(validation="2024-07-01T00:00Z", test="2024-10-01")
    parts = divided(tmp_path, frame, replace(PARAMS, by="time", boundaries=bounds))
    assert [part.height for part in parts.values()] == [182, 92, 126]
    assert parts["train"]["received_at"].max() < parts["validation"]["received_at"].min()


def test_it_splits_as_the_source_does(tmp_path: Path) -> None:
    given = pl.Series(["train"] * 300 + ["test"] * 100)
    parts = divided(tmp_path, records().with_columns(split=given), replace(PARAMS, by="source"))
    assert parts["test"]["id"].to_list() == records()["id"][300:].to_list()
    assert 0 < parts["validation"].height < parts["train"].height


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    divided(tmp_path, records())
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    divided(tmp_path, records())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_a_label_that_train_lacks_is_named_with_where_it_is(tmp_path: Path) -> None:
    test_ids = divided(tmp_path, records())["test"]["id"].to_list()[:3]
    rare = pl.when(pl.col("id").is_in(test_ids)).then(pl.lit("y")).otherwise(pl.lit("x"))
    with pytest.raises(DataError, match=r"train: holds no row of the label 'y' \(3 in test\)\. Change split\.shares"):
        divided(tmp_path, records().with_columns(label=rare))


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the split (test|validation): holds no row"):
        divided(tmp_path, records(4))
    assert {path.name for path in tmp_path.iterdir()} == {"clean.parquet", "task.json"}


def test_one_label_is_refused() -> None:
    with pytest.raises(DataError, match="only x"):
        split.check(records(), ["x"], "hash")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"shares": {"train": 0.6, "validation": 0.1, "test": 0.4}}, r"sum to 1, and sum to 1\.1"),
        (
            {"shares": {"train": 1.0, "validation": 0.0, "test": -1}},
            r"(?s)shares\.train.*shares\.validation.*shares\.test",
        ),
        ({"by": "time"}, "boundaries must be given"),
        ({"boundaries": {"validation": "2024-02-01", "test": "2024-01-01"}}, "before boundaries.test"),
        ({"boundaries": {"validation": "soon", "test": "2024-01-01"}}, "such as .* is 'soon'"),
        ({"by": "random"}, "'hash' or 'time' or 'source'"),
        ({"salt": ""}, "salt"),
    ],
)
def test_params_that_do_not_fit_are_refused(change: dict[str, object], problem: str) -> None:
    with pytest.raises(ParamsError, match=problem):
        bind(split.Params, {**RAW, **change}, section="split")
