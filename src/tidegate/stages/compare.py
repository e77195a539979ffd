"""Runs every candidate through the runtime that serves it, on the validation rows: quality, robustness, cost.

It looks at no test row and chooses nothing: `select` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tidegate import files
from tidegate.errors import DataError, PackageError
from tidegate.params import Range

if TYPE_CHECKING:
    import polars as pl

    from tidegate.evidence.scoring import Predictions
    from tidegate.package import Package


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """How the candidates are scored and timed."""

    replicates: Annotated[int, Range(ge=200, le=100_000)]
    """How often the groups are drawn anew for an interval."""
    seed: Annotated[int, Range(ge=0, lt=2**31)]
    """Of those draws, of the samples and of the perturbations."""
    slice_minimum_rows: Annotated[int, Range(ge=1)]
    """Rows; a slice with fewer is listed without an interval."""
    batch_size: Annotated[int, Range(ge=1)]
    """Texts a call of a package's runtime."""
    latency_texts: Annotated[int, Range(ge=1)]
    """How many validation texts, a seeded sample, are timed."""
    latency_repeats: Annotated[int, Range(ge=1)]
    """How often each of them is timed."""
    robustness_rows: Annotated[int, Range(ge=1)]
    """How many validation rows, a seeded sample, are perturbed."""


def run(
    params: Params, *, packages: Path, validation: Path, task: Path, comparison: Path, validation_predictions: Path
) -> None:
    """Writes `comparison.json` and what each candidate predicted."""
    import polars as pl

    from tidegate.evidence import predictions as stored

    described, rows = files.read_json(task), pl.read_parquet(validation)
    if not len(rows):
        raise DataError(str(validation), "holds no rows", "Raise split's validation share, or take more rows")
    candidates = load(packages, described)
    judged = {name: _predicted(params, package, rows, described) for name, package in candidates.items()}
    costs = _costs(params, candidates, rows)
    found = {
        name: {
            "digest": package.digest,
            "package": f"{packages.name}/{name}",
            **_quality(params, judged[name]),
            "robustness": _robustness(params, package, rows, described),
            **costs[name],
        }
        for name, package in candidates.items()
    }
    with files.replacing(validation_predictions) as draft:
        draft.mkdir()
        for name, p in judged.items():
            stored.write(draft / f"{name}.parquet", p)
    files.write_json(comparison, found)
    for name, entry in found.items():
        print(_line(name, entry))


def load(packages: Path, described: Mapping[str, Any]) -> dict[str, "Package"]:
    """The candidates by folder name.

    Raises:
        PackageError: there is none, one is damaged, or one is for another task or other labels.
    """
    from tidegate.package import Package

    found = {folder.name: Package.load(folder) for folder in sorted(packages.iterdir()) if folder.is_dir()}
    if not found:
        raise PackageError(str(packages), "holds no package", "Run `dvc repro export`")
    for package in found.values():
        own, asked = (package.task, list(package.labels)), (described["task"], list(described["labels"]))
        if own != asked:
            cause = f"is for task {own[0]!r} with the labels {own[1]}, not for {asked[0]!r} with {asked[1]}"
            raise PackageError(str(package.folder), cause, "Run `dvc repro`, which makes the package anew")
    return found


def _predicted(params: Params, package: "Package", rows: "pl.DataFrame", described: Mapping[str, Any]) -> "Predictions":
    from tidegate.evidence import predictions

    probabilities = package.predict(rows["text"].to_list(), batch_size=params.batch_size)
    return predictions.from_rows(rows, described["labels"], probabilities, described["slices"])


def _quality(params: Params, p: "Predictions") -> dict[str, Any]:
    from tidegate.evidence import scoring

    slices = scoring.by_slice(p, replicates=params.replicates, seed=params.seed, minimum_rows=params.slice_minimum_rows)
    return {**scoring.metrics(p, replicates=params.replicates, seed=params.seed), "slices": slices}


def _robustness(
    params: Params, package: "Package", rows: "pl.DataFrame", described: Mapping[str, Any]
) -> dict[str, Any]:
    """By perturbation the share of labels that stay what they were, whether they were right or not."""
    from tidegate.evidence import robustness, scoring

    drawn = _sample(rows, params.robustness_rows, params.seed)
    plain, texts = _predicted(params, package, drawn, described), drawn["text"].to_list()
    found: dict[str, Any] = {"rows": len(drawn)}
    for name in robustness.PERTURBATIONS:
        changed = package.predict(robustness.perturbed(name, texts, seed=params.seed), batch_size=params.batch_size)
        kept = scoring.Predictions(plain.ids, plain.groups, plain.labels, plain.predicted, changed)
        found[name] = scoring.metrics(kept, replicates=params.replicates, seed=params.seed)["accuracy"]
    return found


def _costs(params: Params, candidates: Mapping[str, "Package"], rows: "pl.DataFrame") -> dict[str, dict[str, Any]]:
    from tidegate.evidence import latency

    texts = _sample(rows, params.latency_texts, params.seed)["text"].to_list()
    timed = latency.measure_together(candidates, texts, repeats=params.latency_repeats, batch_size=params.batch_size)
    return {name: {"latency": timed[name], "bytes": latency.size(p)} for name, p in candidates.items()}


def _sample(rows: "pl.DataFrame", count: int, seed: int) -> "pl.DataFrame":
    return rows.sample(min(count, len(rows)), seed=seed, shuffle=True)


def _line(name: str, entry: Mapping[str, Any]) -> str:
    accuracy, f1, single = entry["accuracy"], entry["macro_f1"], entry["latency"]["single_ms"]
    return (
        f"{name}: accuracy {_interval(accuracy)}, macro-F1 {_interval(f1)} on {entry['rows']:,} validation rows in "
        f"{entry['groups']:,} groups; one text {single['p50']:.1f} ms (p95 {single['p95']:.1f}), "
        f"{entry['latency']['texts_per_second']:,.0f} texts/s in batches, {entry['bytes'] / 1e6:,.1f} MB"
    )


def _interval(metric: Mapping[str, float | None]) -> str:
    if metric["low"] is None or metric["high"] is None:
        return f"{metric['value']:.3f} (too few groups for an interval)"
    return f"{metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})"
