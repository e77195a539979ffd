"""Puts every row into train, validation or test, stickily, and reports what still leaks between them.

The rules stand in `assignment.py` and `leakage.py`; here they are bound to params, checked and written.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tidegate import files
from tidegate.errors import DataError
from tidegate.params import Range

if TYPE_CHECKING:
    import polars

_ROW_GROUP = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Shares of the groups."""

    train: Annotated[float, Range(gt=0, lt=1)]
    """What models learn from."""
    validation: Annotated[float, Range(gt=0, lt=1)]
    """What choices are made on."""
    test: Annotated[float, Range(gt=0, lt=1)]
    """What the choice is judged on, once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundaries:
    """The first moments of two splits."""

    validation: str
    """ISO 8601, in quotes; UTC where it names no zone. Groups that first came before it are for training."""
    test: str
    """ISO 8601, in quotes. Groups that first came at or after it are for testing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leakage:
    """When two texts of different splits count as near duplicates."""

    threshold: Annotated[float, Range(ge=0.5, le=1)]
    """Jaccard similarity of the sets of shingles of their words, from 0 to 1."""
    shingle: Annotated[int, Range(ge=2, le=16)]
    """Characters a shingle."""
    permutations: Annotated[int, Range(ge=16, le=1024)]
    """Hash functions a MinHash signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """How rows are split."""

    by: Literal["hash", "time", "source"]
    """What decides: a salted hash of the group, when the group first came, or the source's own column `split`."""
    shares: Shares
    """Shares of the groups by hash; by source they carve validation out of train where it has none."""
    salt: Annotated[str, Range(ge=1)]
    """Draws which groups go where."""
    boundaries: Boundaries | None
    """By time: where validation and test begin."""
    copies: Literal["keep", "drop"]
    """Whether rows that duplicate one of the same split stay."""
    leakage: Leakage
    """What the leakage report looks for."""

    def problems(self) -> Iterator[str]:
        """What does not fit together."""
        total = self.shares.train + self.shares.validation + self.shares.test
        if abs(total - 1) > 1e-6:
            yield f"shares must sum to 1, and sum to {total:g}"
        if self.by == "time" and self.boundaries is None:
            yield "boundaries must be given where by is 'time'"
        if self.boundaries is not None:
            yield from _boundary_problems(self.boundaries)


def run(
    params: Params, *, clean: Path, task: Path, train: Path, validation: Path, test: Path, unlabelled: Path,
    splits: Path, leakage: Path,
) -> None:  # fmt: skip
    """Writes the three splits, the unlabelled rows to learn from, what they hold, and the leakage report on them."""
    import polars

    labels = files.read_json(task)["labels"]
    columns = polars.scan_parquet(clean)
    needed = [name for name in ("received_at", "split") if name in columns.collect_schema()]
    rows = columns.select("id", "group", "cluster", "label", *needed).collect()
    rows = rows.with_columns(assign(rows, params))
    rows = rows.with_columns(withhold(rows, params.copies))
    used = rows.filter(polars.col("withheld").is_null())
    check(used.filter(polars.col("label").is_not_null()), labels, params.by)
    free, labelled = rows["withheld"].is_null(), rows["label"].is_not_null()
    outs = {"train": train, "unlabelled": unlabelled, "validation": validation, "test": test}
    for name, path in outs.items():
        _write(path, clean, free & (~labelled if name == "unlabelled" else labelled & (rows["split"] == name)))
    lost = dict(sorted(rows["withheld"].drop_nulls().value_counts().iter_rows()))
    found, parts = report(outs, params.leakage), summary(used, labels)
    files.write_json(splits, {**parts, "withheld": lost})
    files.write_json(leakage, {**found, "withheld": sum(lost.values())})
    print(_told(parts, lost, found))


def assign(rows: "polars.DataFrame", params: Params) -> "polars.Series":
    """The split of each row, before anything is withheld."""
    from tidegate.quality import assignment

    draw = assignment.Draw(salt=params.salt, validation=params.shares.validation, test=params.shares.test)
    if params.by == "time":
        bounds = params.boundaries
        assert bounds is not None  # noqa: S101  # Params.problems saw to it
        return assignment.by_time(rows, validation=_moment(bounds.validation), test=_moment(bounds.test))
    if params.by == "source":
        return assignment.by_source(rows, draw)
    return assignment.by_hash(rows["group"], draw)


def withhold(rows: "polars.DataFrame", copies: str) -> "polars.Series":
    """Why a row is not used, or null. Rows without a label have no say in what becomes of those with one."""
    import polars

    from tidegate.quality import assignment

    rows = rows.with_row_index("place")
    labelled = rows.filter(polars.col("label").is_not_null())
    labelled = labelled.select("place", assignment.withheld(labelled, copies=copies))
    rows = rows.join(labelled, on="place", how="left", maintain_order="left")
    if rows["label"].null_count():
        without = assignment.withheld_unlabelled(rows, copies=copies)
        rows = rows.with_columns(withheld=polars.coalesce("withheld", without))
    return rows["withheld"]


def check(used: "polars.DataFrame", labels: list[str], by: str) -> None:
    """Refuses splits that no model could be trained or judged on.

    Raises:
        DataError: there is one label only, a split is empty, or train lacks a label.
    """
    remedy = {"hash": "split.shares and split.salt", "time": "split.boundaries", "source": "the source's column split"}
    if len(labels) < 2:
        raise DataError("the labels", f"are only {', '.join(labels) or 'none'}", "A classifier needs two at least")
    for name in ("train", "validation", "test"):
        if not (used["split"] == name).any():
            raise DataError(f"the split {name}", "holds no row", f"Change {remedy[by]}, or give more groups")
    counts = {(split, label): rows for split, label, rows in used.group_by("split", "label").len().iter_rows()}
    for label in labels:
        if ("train", label) not in counts:
            rest = [f"{counts[s, label]:,} in {s}" for s in ("validation", "test") if (s, label) in counts]
            raise DataError(
                "the split train", f"holds no row of the label {label!r} ({' and '.join(rest) or 'nor has any other'})",
                f"Change {remedy[by]}, give more groups of this label, or take it out in ingest.select",
            )  # fmt: skip


def summary(used: "polars.DataFrame", labels: list[str]) -> dict[str, Any]:
    """By split, of its rows with a label: rows, groups, share of the rows, and rows by label; then of those without."""
    labelled, rest = used.filter(used["label"].is_not_null()), used.filter(used["label"].is_null())
    parts = {name: labelled.filter(labelled["split"] == name) for name in ("train", "validation", "test")}
    found: dict[str, Any] = {
        name: {
            "rows": part.height,
            "groups": part["group"].n_unique(),
            "share": round(part.height / labelled.height, 4),
            "labels": {label: int((part["label"] == label).sum()) for label in labels},
        }
        for name, part in parts.items()
    }
    return found | ({"unlabelled": {"rows": rest.height, "groups": rest["group"].n_unique()}} if rest.height else {})


def report(outs: Mapping[str, Path], near: Leakage) -> dict[str, Any]:
    """What leaks between the written files, found without the clusters that `clean` made."""
    import polars

    from tidegate.quality.duplicates import Nearness
    from tidegate.quality.leakage import leaks

    columns = ("id", "group", "text")
    parts = {name: polars.scan_parquet(path).select(columns).collect() for name, path in outs.items()}
    return leaks(parts, Nearness(**dataclasses.asdict(near), seed=2))


def _write(path: Path, clean: Path, chosen: "polars.Series") -> None:
    import polars

    beside = polars.DataFrame({"_chosen": chosen}).lazy()
    rows = polars.concat([polars.scan_parquet(clean), beside], how="horizontal").filter("_chosen").drop("_chosen")
    with files.replacing(path) as draft:
        rows.sink_parquet(draft, row_group_size=_ROW_GROUP, maintain_order=True)


def _boundary_problems(bounds: Boundaries) -> Iterator[str]:
    moments = {}
    for name in ("validation", "test"):
        try:
            moments[name] = _moment(getattr(bounds, name))
        except ValueError:
            yield f"boundaries.{name} must be a time such as '2024-01-31T12:00Z', is {getattr(bounds, name)!r}"
    if len(moments) == 2 and moments["validation"] >= moments["test"]:
        yield "boundaries.validation must be before boundaries.test"


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _told(found: dict[str, Any], lost: dict[str, int], leaking: dict[str, Any]) -> str:
    splits = {name: part for name, part in found.items() if name != "unlabelled"}
    others = [part for name, part in found.items() if name == "unlabelled"]
    lines = [
        f"{name}: {part['rows']:,} rows ({part['share']:.1%}), {part['groups']:,} groups; "
        + ", ".join(f"{label} {count:,}" for label, count in part["labels"].items())
        for name, part in splits.items()
    ]
    lines += [
        f"no row of {label!r} in {name}" for name, p in splits.items() for label, n in p["labels"].items() if not n
    ]
    lines += [f"unlabelled, to learn from: {part['rows']:,} rows, {part['groups']:,} groups" for part in others]
    lines.append(
        "withheld: " + (", ".join(f"{n:,} rows ({why.replace('_', ' ')})" for why, n in lost.items()) or "none")
    )
    kinds = ("groups", "exact", "near")
    lines.append("leakage: " + ", ".join(f"{leaking[f'{kind}_crossing']:,} {kind}" for kind in kinds))
    return "\n".join(lines)
