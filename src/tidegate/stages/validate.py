"""Tests the records: bad rows go to quarantine with the reason, and what is left must be fit to learn from.

Here stand the checks. Why a row is bad is in `quarantine`, how checks are run and shown in `expectations`, `datadocs`.
"""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tidegate.errors import DataError
from tidegate.files import read_json, replacing, write_json
from tidegate.params import Range

if TYPE_CHECKING:
    import polars as pl

    from tidegate.quality.expectations import Check

Severity = Literal["critical", "warning"]
Share = Annotated[float, Range(ge=0, le=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How much of something bad is borne."""

    max_share: Share
    """Share of rows (0 to 1) that may break the rule."""
    severity: Severity
    """What happens when more do: `critical` fails the stage, `warning` is reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRules:
    """The rules on single rows. A row that breaks one goes to quarantine, whatever the severity."""

    identity: Tolerance
    """An id of its own and a group; of several rows with one id the first keeps it."""
    text: Tolerance
    """A text."""
    length: Tolerance
    """A text whose length is within its bounds."""
    label: Tolerance
    """A label; of no effect where rows without one are kept."""
    known_label: Tolerance
    """A label of the label set, where that is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Bounds of a class's share of the good rows."""

    min: Share
    """Share (0 to 1) of the smallest class at least."""
    max: Share
    """Share (0 to 1) of the largest class at most."""
    severity: Severity
    """What happens outside: `critical` fails the stage, `warning` is reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What the records have to be like."""

    labels: Annotated[list[str], Range(ge=2)] | None
    """The label set, in the order of every probability vector; null takes the labels found, sorted."""
    unlabelled: Literal["quarantine", "keep"]
    """What becomes of a row that lacks nothing but a label. Where such rows are kept, rows without a label are held to
    the rules on single rows, and every other bound here is one of rows with a label."""
    min_characters: Annotated[int, Range(ge=1, le=10**9)]
    """Characters a text, at least; outer white space is not counted."""
    max_characters: Annotated[int, Range(ge=1, le=10**9)]
    """Characters a text, at most."""
    row_rules: RowRules
    """Rules on single rows."""
    max_quarantined_share: Share
    """Share of rows (0 to 1) that may go to quarantine, for whatever reason, before the stage fails."""
    min_rows: Annotated[int, Range(ge=1)]
    """Rows read, at least."""
    min_label_rows: Annotated[int, Range(ge=1)]
    """Good rows of every class, at least."""
    label_share: Shares
    """Share of every class."""
    duplicate_texts: Tolerance
    """Texts that repeat an earlier one, letter by letter."""

    def problems(self) -> Iterator[str]:
        """Bounds that cross, and labels that are none."""
        if self.labels and len(set(self.labels)) < len(self.labels):
            yield "labels: a label stands there twice"
        if self.labels and not all(label.strip() for label in self.labels):
            yield "labels: a label is blank"
        if self.min_characters > self.max_characters:
            yield "min_characters: must not be above max_characters"
        if self.label_share.min > self.label_share.max:
            yield "label_share.min: must not be above label_share.max"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Findings:
    marked: "pl.LazyFrame | None"  # the records with their reason; none where the columns do not fit
    labels: list[str]
    quality: dict[str, Any]
    faults: list[str]  # why the stage fails; empty where it does not


def run(
    params: Params,
    *,
    records: Path,
    manifest: Path,
    valid: Path,
    quarantine: Path,
    task: Path,
    quality: Path,
    data_docs: Path,
) -> None:
    """Raises DataError where the records are not fit; what was found then lies in `validate.failed/`."""
    from tidegate.quality import datadocs
    from tidegate.quality.quarantine import reading, write

    name, slices = _described(manifest)
    evidence = data_docs.with_name("validate.failed")
    with reading(records) as table, tempfile.TemporaryDirectory() as scratch:
        site = Path(scratch)
        found = _examine(params, table, slices, site=site)
        if found.faults or found.marked is None:
            with replacing(evidence) as draft:
                datadocs.publish(site, draft / data_docs.name, quality=found.quality, task=name)
                write_json(draft / quality.name, found.quality)
                if found.marked is not None:
                    write(found.marked, bad=True, path=draft / quarantine.name)
            raise _unfit(records, found, evidence / data_docs.name / "index.html")
        for path, bad in ((valid, False), (quarantine, True)):
            with replacing(path) as draft:
                write(found.marked, bad=bad, path=draft)
        with replacing(data_docs) as draft:
            datadocs.publish(site, draft, quality=found.quality, task=name)
    write_json(task, {"task": name, "labels": found.labels, "slices": slices})
    write_json(quality, found.quality)
    shutil.rmtree(evidence, ignore_errors=True)
    _tell(found, inferred=params.labels is None)


def _described(manifest: Path) -> tuple[str, list[str]]:
    match read_json(manifest):
        case {"task": str(task), "slices": [*slices]}:
            return task, slices
    raise DataError(str(manifest), "does not say task and slices", "Run `dvc repro --force ingest`, which writes it")


def _examine(params: Params, table: "pl.LazyFrame", slices: list[str], *, site: Path) -> _Findings:
    from tidegate.quality import expectations
    from tidegate.quality import quarantine as q

    schema, longest = table.collect_schema(), params.max_characters
    types = q.expected_types(schema, slices)
    structure = expectations.of_structure(types, present=set(schema))
    if faults := list(q.misfits(schema, slices)):
        outcomes = expectations.run(table.head(1000).collect(), structure, name="records", site=site)
        report = expectations.report(outcomes, rows=q.height(table), reasons={}, labels={}, faults=len(faults))
        return _Findings(marked=None, labels=[], quality=report, faults=faults)
    keep = params.unlabelled == "keep"
    rules = q.row_rules(shortest=params.min_characters, longest=longest, labels=params.labels, unlabelled=keep)
    marked = table.with_columns(q.reason(rules))
    labels = params.labels or q.good_labels(marked)
    frame = q.examined(marked, columns=list(types), longest=longest)
    judged = q.labelled(frame) if keep else frame
    checks = [*structure, *_of_rows(params, all_labelled=judged.height == frame.height), *_of_classes(params)]
    outcomes = expectations.run(judged, checks, name="records", site=site)
    faults = [out.sentence() for out in outcomes if not out.success and out.check.severity == "critical"]
    if params.labels is None:
        faults += [f"labels {a!r} and {b!r} differ only in case or white space" for a, b in q.lookalikes(labels)[:5]]
    reasons, classes = q.counts(frame["reason"]), q.label_counts(frame, labels)
    report = expectations.report(
        outcomes, rows=frame.height, reasons=reasons, labels=classes, faults=len(faults), unlabelled=q.kept(frame)
    )
    return _Findings(marked=marked, labels=labels, quality=report, faults=faults)


def _of_rows(params: Params, *, all_labelled: bool) -> Iterator["Check"]:
    from tidegate.quality.expectations import of_rows, of_whole, percent

    rules, low, high = params.row_rules, params.min_characters, params.max_characters
    repeated = params.duplicate_texts
    told = f"there are {params.min_rows:,} rows or more"
    yield of_whole("row_count_to_be_between", None, told, min_value=params.min_rows)
    yield of_rows("values_to_not_be_null", "id", "have an id", **asdict(rules.identity))
    yield of_rows("values_to_be_unique", "id", "have an id of their own", **asdict(rules.identity))
    yield of_rows("values_to_not_be_null", "group", "have a group", **asdict(rules.identity))
    yield of_rows("values_to_not_be_null", "text", "have a text", **asdict(rules.text))
    told = f"that have a text have {low:,} to {high:,} characters"
    bounds = {"min_value": low, "max_value": high} | asdict(rules.length)
    yield of_rows("value_lengths_to_be_between", "text", told, **bounds)
    told = f"at least {percent(1 - repeated.max_share)} of the texts are distinct"
    distinct, severity = round(1 - repeated.max_share, 12), repeated.severity
    yield of_whole("proportion_of_unique_values_to_be_between", "text", told, min_value=distinct, severity=severity)
    if all_labelled:
        yield of_rows("values_to_not_be_null", "label", "have a label", **asdict(rules.label))
    if params.labels:
        told, known = "that have a label have one of the label set (validate.labels)", asdict(rules.known_label)
        yield of_rows("values_to_be_in_set", "label", told, value_set=params.labels, **known)
    yield of_rows("values_to_be_null", "reason", "are good", max_share=params.max_quarantined_share)


def _of_classes(params: Params) -> Iterator["Check"]:
    from tidegate.quality.expectations import of_whole, percent

    shares, rows = params.label_share, params.min_label_rows
    yield of_whole("unique_value_count_to_be_between", "good_label", "good rows have two classes or more", min_value=2)
    if params.labels:
        told = "every label of the label set (validate.labels) has good rows"
        yield of_whole("distinct_values_to_contain_set", "good_label", told, value_set=params.labels)
    told = f"every class has {rows:,} good rows or more"
    yield of_whole("min_to_be_between", "rows_of_label", told, min_value=rows)
    told = f"every class has {percent(shares.min)} of the good rows or more"
    yield of_whole("min_to_be_between", "share_of_label", told, min_value=shares.min, severity=shares.severity)
    told = f"no class has more than {percent(shares.max)} of the good rows"
    yield of_whole("max_to_be_between", "share_of_label", told, max_value=shares.max, severity=shares.severity)


def _unfit(records: Path, found: _Findings, page: Path) -> DataError:
    from tidegate.quality.quarantine import listed

    bad = [f"{rows:,} rows: {reason}" for reason, rows in list(found.quality["reasons"].items())[:5]]
    good = [f"good rows of each class: {listed(found.quality['labels'])}"] if found.labels else []
    cause = "\n  - ".join(["the data is not fit", *found.faults, *bad, *good])
    remedy = f"\nLook at {page}; mend the source or ingest.select, or change section validate of params.yaml"
    return DataError(str(records), cause, remedy)


def _tell(found: _Findings, *, inferred: bool) -> None:
    from tidegate.quality.quarantine import listed

    quality = found.quality
    bad = f"{quality['quarantined']:,} in quarantine ({quality['quarantined_share']:.2%})"
    print(f"{quality['rows']:,} rows read, {quality['valid']:,} good, {bad}")
    for reason, rows in quality["reasons"].items():
        print(f"  {rows:,} rows: {reason}")
    if unlabelled := quality.get("unlabelled"):
        print(f"  {unlabelled:,} rows without a label kept; the expectations are about the others")
    print(f"Label set{', as found' if inferred else ''}, with good rows: {listed(quality['labels'])}")
    for item in quality["expectations"]:
        if not item["success"]:
            print(f"Warning: expected that {item['claim']}; found: {item['found'] or 'none'}")
