"""Checks, outcomes, and that Great Expectations judges as the claims say."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tidegate.quality.expectations import Check, Outcome, of_rows, of_whole, report, run

NULL, DISTINCT = "values_to_not_be_null", "proportion_of_unique_values_to_be_between"


def outcome(check: Check, *, observed: Any = None, unexpected: int | None = None) -> Outcome:
    return Outcome(check=check, success=False, observed=observed, unexpected=unexpected)


def test_a_check_of_rows_says_how_many_must_pass() -> None:
    assert of_rows(NULL, "a", "have an a", max_share=0.0).claim == "all rows have an a"
    check = of_rows(NULL, "a", "have an a", max_share=0.005, severity="warning")
    assert check.claim == "at least 99.5 % of the rows have an a"
    assert (check.kind, check.severity) == ("expect_column_values_to_not_be_null", "warning")
    assert check.arguments == {"mostly": 0.995}


def test_a_check_without_a_column_is_of_the_table() -> None:
    assert of_whole("row_count_to_be_between", None, "x", min_value=1).kind == "expect_table_row_count_to_be_between"


@pytest.mark.parametrize(
    ("kind", "column", "observed", "unexpected", "found"),
    [
        (NULL, "text", None, 1200, "1,200 rows break this"),
        (DISTINCT, "text", 0.99978, None, "99.98 %"),
        ("max_to_be_between", "share_of_label", 0.444, None, "44.4 %"),
        ("min_to_be_between", "rows_of_label", 1.0, None, "1"),
        ("row_count_to_be_between", None, 1234567, None, "1,234,567"),
        ("values_to_be_of_type", "text", "int64", None, "int64"),
        ("distinct_values_to_contain_set", "label", ["a", "b"], None, "a, b"),
        ("to_exist", "text", None, None, ""),
    ],
)
def test_what_was_found_is_said_with_its_unit(
    kind: str, column: str | None, observed: Any, unexpected: int | None, found: str
) -> None:
    told = outcome(of_whole(kind, column, "it is so"), observed=observed, unexpected=unexpected)
    assert told.found() == found
    assert told.sentence() == f"expected that it is so; found: {found or 'none'}"


def test_the_report_counts_what_is_not_good_as_quarantined() -> None:
    made = report([], rows=10, reasons={"text is null": 4}, labels={"a": 4, "b": 2}, faults=0)
    assert (made["valid"], made["quarantined"], made["quarantined_share"], made["success"]) == (6, 4, 0.4, True)
    assert report([], rows=0, reasons={}, labels={}, faults=1)["quarantined_share"] == 0.0


def test_the_suite_judges_shares_exactly_at_the_bound(tmp_path: Path) -> None:
    table = pl.DataFrame({"a": [None, *"xxxyyyyyy"], "n": range(10)})
    checks = [
        of_rows(NULL, "a", "have an a", max_share=0.1),
        of_rows(NULL, "a", "have an a", max_share=0.09, severity="warning"),
        of_whole("max_to_be_between", "n", "n is small", max_value=8),
        of_whole("row_count_to_be_between", None, "there are 10 rows", min_value=10),
        of_whole("to_exist", "b", "there is a b"),
    ]
    found = run(table, checks, name="letters", site=tmp_path)
    assert [out.check for out in found] == checks
    assert [(out.success, out.observed, out.unexpected) for out in found] == [
        (True, None, 1), (False, None, 1), (False, 9, None), (True, 10, None), (False, None, None),
    ]  # fmt: skip
    assert list(tmp_path.glob("validations/**/*.html"))
