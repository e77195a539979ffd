"""A suite of checks, run by Great Expectations on a table: what was expected, what was found.

Which checks there are, and their bounds, is for the caller to say. The pages made of them are in `datadocs`.
"""

import logging
import math
import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

Severity = Literal["critical", "warning"]

_SUMMARY = {"result_format": "SUMMARY", "partial_unexpected_count": 0}
"""Counts alone: with any other format texts of the data would stand in the pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One expectation of the suite."""

    kind: str
    """The expectation's name in Great Expectations, as `expect_column_to_exist`."""
    column: str | None
    """The column it is about; none for the table."""
    arguments: dict[str, Any]
    """Its other arguments."""
    severity: Severity
    """`critical` fails the stage, `warning` is reported."""
    claim: str
    """What is expected, for a person, as `every class has at least 50 rows`."""


def of_rows(
    kind: str, column: str, claim: str, *, max_share: float, severity: Severity = "critical", **arguments: Any
) -> Check:
    """A check that all rows pass, up to a share that need not."""
    most = "all rows" if max_share == 0 else f"at least {percent(1 - max_share)} of the rows"
    arguments["mostly"] = round(1 - max_share, 12)
    return of_whole(kind, column, f"{most} {claim}", severity=severity, **arguments)


def of_whole(kind: str, column: str | None, claim: str, *, severity: Severity = "critical", **arguments: Any) -> Check:
    """A check of one figure of a column, or of the table where no column is named.

    Args:
        kind: the expectation's name in Great Expectations, without `expect_column_` or `expect_table_`.
        column: the column it is about.
        claim: what is expected, for a person.
        severity: `critical` fails the stage, `warning` is reported.
        arguments: the expectation's other arguments.
    """
    kind = f"expect_{'table' if column is None else 'column'}_{kind}"
    return Check(kind=kind, column=column, arguments=arguments, severity=severity, claim=claim)


def of_structure(types: Mapping[str, str], *, present: Collection[str]) -> list[Check]:
    """Checks that columns are there, and that those present hold what they should: `text` or `time`."""
    kinds = {"text": "str", "time": "Timestamp"}
    exist = [of_whole("to_exist", column, f"the column {column} is there") for column in types]
    return exist + [
        of_whole("values_to_be_of_type", column, f"the column {column} holds {kind}s", type_=kinds[kind])
        for column, kind in types.items()
        if column in present
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a check."""

    check: Check
    success: bool
    observed: Any
    """The figure that was compared with the bounds (a number, a text or a list), or null where rows are counted."""
    unexpected: int | None
    """Rows that broke the rule, or null where the check is about the whole."""

    def found(self) -> str:
        """What was found, for a person."""
        if self.unexpected is not None:
            return "1 row breaks this" if self.unexpected == 1 else f"{self.unexpected:,} rows break this"
        if isinstance(self.observed, list):
            return ", ".join(str(item) for item in self.observed)
        if isinstance(self.observed, bool) or not isinstance(self.observed, int | float):
            return "" if self.observed is None else str(self.observed)
        is_share = "proportion" in self.check.kind or "share" in str(self.check.column)
        return percent(round(self.observed, 4)) if is_share else f"{self.observed:,.12g}"

    def sentence(self) -> str:
        """The claim and what was found instead."""
        return f"expected that {self.check.claim}; found: {self.found() or 'none'}"


def percent(share: float) -> str:
    """A share (0 to 1) for a person."""
    return f"{100 * share:.6g} %"


def report(
    outcomes: Sequence[Outcome], *, rows: int, reasons: Mapping[str, int], labels: Mapping[str, int], faults: int,
    unlabelled: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """The content of `quality.json`; every row that is neither good nor kept without a label is in quarantine."""
    valid = sum(labels.values())
    bad = rows - valid - unlabelled
    return {
        "rows": rows,
        "valid": valid,
        **({"unlabelled": unlabelled} if unlabelled else {}),
        "quarantined": bad,
        "quarantined_share": bad / rows if rows else 0.0,
        "reasons": dict(reasons),
        "labels": dict(labels),
        "success": not faults,
        "expectations": [
            {
                "expectation": outcome.check.kind,
                "column": outcome.check.column,
                "severity": outcome.check.severity,
                "claim": outcome.check.claim,
                "success": outcome.success,
                "observed": outcome.observed,
                "unexpected": outcome.unexpected,
                "found": outcome.found(),
            }
            for outcome in outcomes
        ],
    }


def run(frame: pl.DataFrame, checks: Sequence[Check], *, name: str, site: Path) -> list[Outcome]:
    """Runs the checks as one Great Expectations suite and lets it write its Data Docs to the folder `site`.

    Nothing is kept but the pages, nothing is sent anywhere. The outcomes come in the order of the checks.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    expectations = [_expectation(check, position) for position, check in enumerate(checks)]
    suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
    asset = context.data_sources.add_pandas(name).add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe(name)
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(name=name, validation_definitions=[definition], result_format=_SUMMARY)
    )
    context.add_data_docs_site(name, _site(site))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = checkpoint.run(batch_parameters={"dataframe": frame.to_pandas()})
        context.build_data_docs(site_names=[name])  # a default site would stay behind in the temporary folder
    (validation,) = result.run_results.values()
    found = {
        (raw.expectation_config.meta or {})["position"]: raw for raw in validation.results if raw.expectation_config
    }
    return [_outcome(check, found[position]) for position, check in enumerate(checks)]


def _expectation(check: Check, position: int) -> Any:
    import great_expectations.expectations as gxe

    cls = getattr(gxe, "".join(word.capitalize() for word in check.kind.split("_")))
    column = {} if check.column is None else {"column": check.column}
    return cls(
        **column,
        **check.arguments,
        severity=check.severity,
        description=f"{check.claim[0].upper()}{check.claim[1:]} ({check.severity})",
        meta={"position": position},
    )


def _site(folder: Path) -> Any:
    return {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder.resolve())},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }


def _outcome(check: Check, raw: Any) -> Outcome:
    found = raw.result
    unexpected = found.get("unexpected_count")
    return Outcome(
        check=check,
        success=bool(raw.success),
        observed=_plain_value(found.get("observed_value")),
        unexpected=None if unexpected is None else int(unexpected),
    )


def _plain_value(value: Any) -> Any:
    """As JSON has it: no NumPy types, no NaN."""
    if isinstance(value, list | tuple | set):
        return [_plain_value(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
