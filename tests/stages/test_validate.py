"""The stage as a whole: what passes, what goes to quarantine, what fails, and where the evidence lies."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from tidegate.errors import DataError, ParamsError
from tidegate.files import digest_folder, read_json, sha256, write_json
from tidegate.params import bind
from tidegate.stages import validate

ROOT = Path(__file__).parents[2]
ROWS = 40

LAX: dict[str, Any] = {
    "labels": None,
    "unlabelled": "quarantine",
    "min_characters": 2,
    "max_characters": 50,
    "row_rules": {
        rule: {"max_share": 0.5, "severity": "critical"}
        for rule in ("identity", "text", "length", "label", "known_label")
    },
    "max_quarantined_share": 0.2,
    "min_rows": 10,
    "min_label_rows": 5,
    "label_share": {"min": 0.1, "max": 0.9, "severity": "warning"},
    "duplicate_texts": {"max_share": 0.5, "severity": "warning"},
}


def frame(**columns: Any) -> pl.DataFrame:
    """40 good rows, with some columns replaced."""
    good = {
        "id": [f"r{i}" for i in range(ROWS)],
        "text": [f"a fine text, number {i}" for i in range(ROWS)],
        "label": ["no", "yes"] * (ROWS // 2),
        "group": [f"g{i // 2}" for i in range(ROWS)],
        "origin": ["source"] * ROWS,
        "shop": ["north", None] * (ROWS // 2),
    }
    return pl.DataFrame({**good, **columns})


def replaced(column: str, cells: Mapping[int, Any]) -> pl.DataFrame:
    values = frame()[column].to_list()
    for row, cell in cells.items():
        values[row] = cell
    return frame(**{column: values})


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    nested = {key: merged(base[key], value) for key, value in more.items() if isinstance(value, dict)}
    return {**base, **more, **nested}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where home and temporary files are."""
    folder = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def run(folder: Path, table: pl.DataFrame | bytes | None, **params: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    if isinstance(table, pl.DataFrame):
        table.write_parquet(folder / "records.parquet")
    elif table is not None:
        (folder / "records.parquet").write_bytes(table)
    write_json(folder / "manifest.json", {"task": "shops", "slices": ["shop"]})
    validate.run(
        bind(validate.Params, merged(LAX, params), section="validate"),
        records=folder / "records.parquet",
        manifest=folder / "manifest.json",
        valid=folder / "valid.parquet",
        quarantine=folder / "quarantine.parquet",
        task=folder / "task.json",
        quality=folder / "quality.json",
        data_docs=folder / "data_docs",
    )
    found: dict[str, Any] = read_json(folder / "quality.json")
    return found


def reasons(folder: Path) -> dict[str, str]:
    bad = pl.read_parquet(folder / "quarantine.parquet")
    return dict(bad.select("id", "reason").iter_rows())


def test_good_records_pass_unchanged(tmp_path: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quality = run(tmp_path, frame())
    assert pl.read_parquet(tmp_path / "valid.parquet").equals(frame())
    assert pl.read_parquet(tmp_path / "quarantine.parquet").columns == [*frame().columns, "reason"]
    assert read_json(tmp_path / "task.json") == {"task": "shops", "labels": ["no", "yes"], "slices": ["shop"]}
    assert {key: value for key, value in quality.items() if key != "expectations"} == {
        "rows": 40, "valid": 40, "quarantined": 0, "quarantined_share": 0.0,
        "reasons": {}, "labels": {"no": 20, "yes": 20}, "success": True,
    }  # fmt: skip
    assert all(item["success"] for item in quality["expectations"])
    assert "Label set, as found, with good rows: no 20, yes 20" in capsys.readouterr().out
    assert list(elsewhere.iterdir()) == []


def test_bad_rows_go_to_quarantine_with_the_reason_and_none_is_lost(tmp_path: Path) -> None:
    table = replaced("text", {3: None, 5: " a\n", 7: "x" * 51}).with_columns(
        id=pl.Series([*frame()["id"][:-1], "r0"]), label=pl.Series([*["yes", "no"] * 19, "maybe", " "])
    )
    quality = run(tmp_path, table, labels=["yes", "no"])
    assert reasons(tmp_path) == {
        "r3": "text is null",
        "r5": "text is shorter than 2 characters",
        "r7": "text is longer than 50 characters",
        "r38": "label is not in the label set",
        "r0": "id was seen in an earlier row; label is null or blank",
    }
    valid = pl.read_parquet(tmp_path / "valid.parquet")
    bad = pl.read_parquet(tmp_path / "quarantine.parquet").drop("reason")
    assert pl.concat([valid, bad]).sort("id", "group").equals(table.sort("id", "group"))
    assert (quality["valid"], quality["quarantined"], quality["quarantined_share"]) == (35, 5, 0.125)
    assert quality["reasons"]["label is null or blank"] == 1
    assert read_json(tmp_path / "task.json")["labels"] == ["yes", "no"]


def test_the_suite_counts_the_rows_that_the_rules_put_aside(tmp_path: Path) -> None:
    table = replaced("text", {1: None, 2: None, 3: " ", 4: "x" * 60})
    quality = run(tmp_path, table, row_rules={"length": {"max_share": 0.01, "severity": "warning"}})
    unexpected = {(item["expectation"], item["column"]): item["unexpected"] for item in quality["expectations"]}
    assert unexpected["expect_column_values_to_not_be_null", "text"] == 2
    assert unexpected["expect_column_value_lengths_to_be_between", "text"] == 2
    assert unexpected["expect_column_values_to_be_null", "reason"] == quality["quarantined"] == 4
    assert quality["success"]
    assert [item["claim"] for item in quality["expectations"] if not item["success"]] == [
        "at least 99 % of the rows that have a text have 2 to 50 characters"
    ]


ONE = {"min_label_rows": 1}


@pytest.mark.parametrize(
    ("table", "params", "told"),
    [
        (frame().drop("text"), {}, r"column 'text' is missing \(there are id, label, group, origin, shop\)"),
        (frame(label=[0, 1] * 20), {}, "column 'label' is of type Int64, not text"),
        (frame().clear(), {}, "there are 10 rows or more; found: 0"),
        (frame(text=[None] * 40), {}, "40 rows: text is null"),
        (frame(text=pl.Series([None] * 40, dtype=pl.String)), {}, "40 rows: text is null"),
        (frame(label=["yes"] * 40), {}, "good rows have two classes or more; found: 1"),
        (frame(label=["yes"] * 39 + ["no"]), {}, "every class has 5 good rows or more; found: 1"),
        (frame(label=["no", "yes"] * 19 + ["Yes", "yes "]), ONE, "labels 'Yes' and 'yes' differ only in case"),
        (frame(), {"labels": ["no", "yes", "never"]}, r"has good rows[\s\S]*no 20, yes 20, never 0"),
        (frame(), {"min_rows": 41}, "there are 41 rows or more; found: 40"),
        (frame(id=["same"] * 40), {}, "39 rows: id was seen in an earlier row"),
        (frame(text=["x" * 51] * 9 + ["fine"] * 31), {}, "at least 80 % of the rows are good; found: 9 rows break"),
        (
            frame(), {"label_share": {"min": 0.6, "max": 0.9, "severity": "critical"}},
            "every class has 60 % of the good rows or more; found: 50 %",
        ),
        (
            frame(), {"label_share": {"min": 0.1, "max": 0.4, "severity": "critical"}},
            "no class has more than 40 % of the good rows; found: 50 %",
        ),
        (
            frame(text=["a text"] * 20 + [f"text {i}" for i in range(20)]),
            {"duplicate_texts": {"max_share": 0.4, "severity": "critical"}},
            r"at least 60 % of the texts are distinct; found: 52\.5 %",
        ),
        (replaced("text", {3: None}), {"row_rules": {"text": {"max_share": 0.0, "severity": "critical"}}},
         "all rows have a text; found: 1 row breaks this"),
    ],
)  # fmt: skip
def test_unfit_records_fail_and_leave_the_evidence(
    tmp_path: Path, table: pl.DataFrame, params: dict[str, Any], told: str
) -> None:
    with pytest.raises(DataError, match=told) as raised:
        run(tmp_path, table, **params)
    evidence = tmp_path / "validate.failed"
    assert str(evidence / "data_docs" / "index.html") in str(raised.value)
    assert str(tmp_path / "records.parquet") in str(raised.value)
    assert "The data failed" in (evidence / "data_docs" / "index.html").read_text()
    assert read_json(evidence / "quality.json")["success"] is False
    assert (evidence / "quarantine.parquet").exists() != told.startswith("column")
    assert not (tmp_path / "valid.parquet").exists()
    assert not (tmp_path / "task.json").exists()


def test_a_failure_within_tolerance_or_of_a_warning_does_not_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quality = run(tmp_path, replaced("text", {3: None}), label_share={"min": 0.1, "max": 0.4, "severity": "warning"})
    assert quality["success"]
    assert "Warning: expected that no class has more than 40 %" in capsys.readouterr().out


def test_the_next_success_removes_the_evidence_of_a_failure(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        run(tmp_path, frame().clear())
    run(tmp_path, frame())
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "data_docs", "manifest.json", "quality.json", "quarantine.parquet", "records.parquet", "task.json",
        "valid.parquet",
    ]  # fmt: skip


def test_a_failure_keeps_what_an_earlier_run_made(tmp_path: Path) -> None:
    run(tmp_path, frame())
    before = sha256(tmp_path / "valid.parquet")
    with pytest.raises(DataError):
        run(tmp_path, frame().clear())
    assert sha256(tmp_path / "valid.parquet") == before


def test_a_cell_of_ten_megabytes_goes_to_quarantine_whole(tmp_path: Path) -> None:
    huge = "word " * 2_000_000
    run(tmp_path, replaced("text", {7: huge}))
    assert reasons(tmp_path) == {"r7": "text is longer than 50 characters"}
    assert pl.read_parquet(tmp_path / "quarantine.parquet")["text"].to_list() == [huge]


@pytest.mark.parametrize(
    ("table", "told"), [(None, "is missing"), (b"", "no Parquet"), (b"id,text\n1,hello\n" * 9, "no Parquet")]
)
def test_a_file_that_is_no_table_is_named(tmp_path: Path, table: bytes | None, told: str) -> None:
    with pytest.raises(DataError, match=rf"records\.parquet.*{told}"):
        run(tmp_path, table)


def test_a_damaged_page_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    frame().write_parquet(tmp_path / "good.parquet", compression="uncompressed")
    content = bytearray((tmp_path / "good.parquet").read_bytes())
    content[4:400] = b"\xff" * 396
    with pytest.raises(DataError, match="is damaged"):
        run(tmp_path, bytes(content))
    assert not (tmp_path / "valid.parquet").exists()


def test_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(tmp_path / name, replaced("text", {3: None, 7: "x" * 80}))
    assert digest_folder(tmp_path / "one") == digest_folder(tmp_path / "two")


def test_no_text_of_a_row_stands_in_the_reports(tmp_path: Path) -> None:
    secrets = {3: "secret " * 20, 4: "!", 5: None, 6: "secret twin", 7: "secret twin"}
    run(tmp_path, replaced("text", secrets), duplicate_texts={"max_share": 0.0, "severity": "warning"})
    pages = [file.read_text() for file in (tmp_path / "data_docs").glob("*.html")]
    assert len(pages) == 3
    assert not any("secret" in page for page in [*pages, (tmp_path / "quality.json").read_text()])


def test_hostile_labels_and_columns_are_text_in_the_pages(tmp_path: Path) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    with pytest.raises(DataError):
        run(tmp_path, frame(label=["no", hostile] * 20), labels=["no", "yes", hostile + "2"])
    run(tmp_path / "inferred", frame(label=["no", hostile] * 20))
    for page in tmp_path.glob("**/*.html"):
        assert "<img src=x" not in page.read_text(), page


def test_rows_without_a_label_are_kept_where_that_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = replaced("label", {3: None, 4: " ", 5: None}).with_columns(
        text=pl.Series([*frame()["text"][:5], None, *frame()["text"][6:]])
    )
    quality = run(tmp_path, table, unlabelled="keep")
    assert reasons(tmp_path) == {"r5": "text is null"}
    valid = pl.read_parquet(tmp_path / "valid.parquet")
    assert valid.filter(pl.col("label").is_null())["id"].to_list() == ["r3", "r4"]
    assert valid.columns == table.columns
    assert [quality[key] for key in ("rows", "valid", "unlabelled", "quarantined")] == [40, 37, 2, 1]
    assert quality["labels"] == {"no": 19, "yes": 18}
    assert read_json(tmp_path / "task.json")["labels"] == ["no", "yes"]
    assert "2 rows without a label kept" in capsys.readouterr().out
    assert "2 without a label are kept" in (tmp_path / "data_docs" / "index.html").read_text()


def test_rows_without_a_label_sway_no_bound(tmp_path: Path) -> None:
    """As many again, of one text, and half as many that are bad: what is found on the others stays as it was."""
    more = frame(id=[f"u{i}" for i in range(ROWS)], text=["same"] * ROWS).with_columns(label=pl.lit(None, pl.String))
    bad = more.head(20).with_columns(pl.col("id") + "b", text=pl.lit("!"))
    strict = {"max_quarantined_share": 0.0, "duplicate_texts": {"max_share": 0.0, "severity": "critical"}}
    alone = run(tmp_path / "alone", frame(), unlabelled="keep", **strict)
    among = run(tmp_path / "among", pl.concat([more, bad, frame()]), unlabelled="keep", **strict)
    assert (among["unlabelled"], among["quarantined"]) == (40, 20)
    observed = [[(item["claim"], item["observed"]) for item in q["expectations"]] for q in (alone, among)]
    assert [item for item in observed[0] if "have a label" not in item[0]] == observed[1]
    with pytest.raises(DataError, match="41 rows or more; found: 40"):
        run(tmp_path / "few", pl.concat([more, frame()]), unlabelled="keep", min_rows=41)


def test_without_any_label_the_stage_fails_though_unlabelled_rows_are_kept(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two classes or more"):
        run(tmp_path, frame(label=[None] * ROWS), unlabelled="keep")


def test_to_keep_rows_without_a_label_changes_nothing_where_there_are_none(tmp_path: Path) -> None:
    for choice in ("keep", "quarantine"):
        run(tmp_path / choice, replaced("text", {3: None, 7: "x" * 80}), unlabelled=choice)
    assert digest_folder(tmp_path / "keep") == digest_folder(tmp_path / "quarantine")


@pytest.mark.parametrize("scenario", [None, "reviews"])
def test_the_shipped_bounds_are_valid(scenario: str | None) -> None:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())["validate"]
    if scenario:
        raw = merged(raw, yaml.safe_load((ROOT / "scenarios" / f"{scenario}.yaml").read_text())["validate"])
    assert bind(validate.Params, raw, section="validate").labels


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"labels": ["a"]}, "at least 2"),
        ({"labels": ["a", "a"]}, "twice"),
        ({"labels": ["a", " "]}, "blank"),
        ({"min_characters": 60}, "must not be above max_characters"),
        ({"label_share": {"min": 0.95}}, "must not be above label_share.max"),
        ({"max_quarantined_share": 1.5}, "at most 1"),
        ({"unlabelled": "drop"}, "'quarantine' or 'keep'"),
        ({"row_rules": {"text": {"severity": "fatal"}}}, "'critical' or 'warning'"),
    ],
)
def test_absurd_params_are_refused(params: dict[str, Any], told: str) -> None:
    with pytest.raises(ParamsError, match=re.escape(told)):
        bind(validate.Params, merged(LAX, params), section="validate")
