"""Stage evaluate: the models on the test rows, once. It chooses nothing.

Candidate, teacher, baseline, champion and best ever; of models with the same digest one is run.
"""

import csv
from collections.abc import Iterable, Mapping
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
    """How the test rows are scored."""

    replicates: Annotated[int, Range(ge=200, le=100_000)]
    """How often the groups are drawn anew for an interval."""
    seed: Annotated[int, Range(ge=0, lt=2**31)]
    """Of those draws."""
    slice_minimum_rows: Annotated[int, Range(ge=1)]
    """Rows; a slice with fewer is listed without an interval."""
    batch_size: Annotated[int, Range(ge=1)]
    """Texts a call of a package's runtime."""
    latency_texts: Annotated[int, Range(ge=1)]
    """How many test texts, the first ones, are timed."""
    latency_repeats: Annotated[int, Range(ge=1)]
    """How often each of them is timed."""
    golden: Annotated[int, Range(ge=1)]
    """How many test texts, the first ones, a service has to answer as here before it is promoted."""


def run(
    params: Params, *, test: Path, task: Path, candidate: Path, packages: Path, baseline: Path, champion: Path,
    evaluation: Path, scores: Path, predictions: Path, confusion: Path, calibration: Path, golden: Path,
) -> None:  # fmt: skip
    """Scores every model there is on the test rows and keeps what each predicted."""
    import polars as pl

    from tidegate.evidence import predictions as stored
    from tidegate.report import models_table

    described, rows = files.read_json(task), pl.read_parquet(test)
    if not len(rows):
        raise DataError(str(test), "holds no rows", "Raise split's test share, or take more rows")
    teacher = {"teacher": packages / "teacher"} if (packages / "teacher").is_dir() else {}
    folders, same_as = distinct({"candidate": candidate, **teacher, **_comparable(champion)})
    loaded = {role: _loaded(folder, digest, described) for role, (digest, folder) in folders.items()}
    judged = {role: _predicted(params, package, rows, described) for role, package in loaded.items()}
    judged["baseline"] = stored.read(baseline, described["labels"])
    models = _measured(params, loaded, rows["text"].to_list()) | {"baseline": {"digest": files.sha256(baseline)}}
    content = _evaluation(params, judged, models) | {"same_as": same_as, "test_digest": files.sha256(test)}
    _write(judged, predictions=predictions, confusion=confusion, calibration=calibration)
    files.write_json(golden, golden_requests(rows["text"].to_list()[: params.golden], judged["candidate"]))
    files.write_json(scores, short(content["models"]))
    files.write_json(evaluation, content)
    print(models_table(content))


def short(models: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """By role the figures that `dvc metrics` shows side by side; the whole is in the evaluation."""
    return {
        role: {
            f"{name}{end}": model[name][key]
            for name in ("accuracy", "macro_f1")
            for end, key in (("", "value"), ("_low", "low"), ("_high", "high"))
        }
        | {name: model[name]["value"] for name in ("roc_auc", "log_loss", "expected_calibration_error")}
        for role, model in models.items()
    }


def _comparable(champion: Path) -> dict[str, Path]:
    known = files.read_json(champion / "champion.json")
    return {
        role: champion / role
        for role in ("champion", "best")
        if (entry := known.get(role)) and entry["digest"] and entry["comparable"]
    }


def distinct(folders: Mapping[str, Path]) -> tuple[dict[str, tuple[str, Path]], dict[str, str]]:
    """Packages by role as (digest, folder), each digest once; and of the other roles, which one is the same."""
    kept: dict[str, tuple[str, Path]] = {}
    same_as: dict[str, str] = {}
    for role, folder in folders.items():
        digest = files.digest_folder(folder)
        first = next((other for other, (known, _) in kept.items() if known == digest), None)
        if first:
            same_as[role] = first
        else:
            kept[role] = (digest, folder)
    return kept, same_as


def _loaded(folder: Path, digest: str, described: Mapping[str, Any]) -> "Package":
    from tidegate.package import Package

    package = Package.load(folder, expected_digest=digest)
    if list(package.labels) != list(described["labels"]):
        cause = f"knows the labels {list(package.labels)}, the task has {list(described['labels'])}"
        raise PackageError(str(folder), cause, "Run `dvc repro`, which makes the package anew")
    return package


def _predicted(params: Params, package: "Package", rows: "pl.DataFrame", described: Mapping[str, Any]) -> "Predictions":
    from tidegate.evidence import predictions

    probabilities = package.predict(rows["text"].to_list(), batch_size=params.batch_size)
    return predictions.from_rows(rows, described["labels"], probabilities, described["slices"])


def _measured(params: Params, packages: Mapping[str, "Package"], texts: list[str]) -> dict[str, dict[str, Any]]:
    from tidegate.evidence import latency

    timed = latency.measure_together(
        packages, texts[: params.latency_texts], repeats=params.latency_repeats, batch_size=params.batch_size
    )
    return {
        role: {"digest": package.digest, "latency": timed[role], "bytes": latency.size(package)}
        for role, package in packages.items()
    }


def _evaluation(
    params: Params, judged: Mapping[str, "Predictions"], models: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    from tidegate.evidence import scoring

    candidate, draws = judged["candidate"], {"replicates": params.replicates, "seed": params.seed}

    def scored(p: "Predictions") -> dict[str, Any]:
        slices = scoring.by_slice(p, minimum_rows=params.slice_minimum_rows, **draws)
        return {**scoring.metrics(p, **draws), "slices": slices}

    return {
        "rows": len(candidate.ids),
        "groups": candidate.group_count,
        "models": {role: {**models[role], **scored(p)} for role, p in judged.items()},
        "paired": {role: scoring.paired(candidate, p, **draws) for role, p in judged.items() if role != "candidate"},
    }


def _write(judged: Mapping[str, "Predictions"], *, predictions: Path, confusion: Path, calibration: Path) -> None:
    from tidegate.evidence import predictions as stored
    from tidegate.evidence import scoring

    with files.replacing(predictions) as draft:
        draft.mkdir()
        for role, p in judged.items():
            stored.write(draft / f"{role}.parquet", p)
    chosen = judged["candidate"]
    names = zip(chosen.actual, chosen.predicted, strict=True)
    _write_csv(confusion, ["actual", "predicted"], ([chosen.labels[a], chosen.labels[b]] for a, b in names))
    curve = (list(row.values()) for row in scoring.calibration_curve(chosen))
    _write_csv(calibration, ["confidence", "accuracy", "rows"], curve)


def _write_csv(path: Path, header: list[str], rows: Iterable[list[Any]]) -> None:
    with files.replacing(path) as draft, draft.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def golden_requests(texts: list[str], p: "Predictions") -> list[dict[str, Any]]:
    """The first texts with the label and the probabilities (in the label set's order) that the candidate gave."""
    return [
        {"text": text, "label": p.labels[best], "probabilities": probabilities}
        for text, best, probabilities in zip(
            texts, p.predicted[: len(texts)].tolist(), p.probabilities[: len(texts)].tolist(), strict=True
        )
    ]
