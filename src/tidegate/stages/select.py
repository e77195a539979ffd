"""Chooses the candidate: the frontier of quality, latency and size, and the stated policy's pick from it.

It measures nothing (`compare` did, on validation) and judges nothing against the champion (`gate` does).
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tidegate import files
from tidegate.errors import DataError, PackageError
from tidegate.params import Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """How one of the candidates is chosen."""

    policy: Literal["cheapest_not_inferior", "most_accurate"]
    """`cheapest_not_inferior`: the least cost among those shown to be not inferior to the reference by `margin`."""
    reference: Annotated[str, Range(ge=1)]
    """Name of the candidate that the others may not be inferior to."""
    margin: Annotated[float, Range(gt=0, lt=0.5)]
    """Loss of accuracy that a cheaper candidate may have, as a share of rows (0.01 is one row in a hundred)."""
    most_flips: Annotated[float, Range(ge=0, le=1)]
    """Share of texts whose label may depend on the others in the batch; a candidate with more is not chosen."""
    cost: Literal["latency_ms", "bytes"]
    """What is cheap: the median time of one text, or the size; the other one decides between equals."""
    confidence: Annotated[float, Range(ge=0.5, lt=1)]
    """Of the two-sided interval of the difference, whose lower end has to lie above minus `margin`."""
    replicates: Annotated[int, Range(ge=200, le=100_000)]
    """How often the groups are drawn anew for that interval."""
    seed: Annotated[int, Range(ge=0, lt=2**31)]
    """Of those draws."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What the choice rests on."""

    name: str
    accuracy: float
    macro_f1: float
    latency_ms: float
    """Median of one text."""
    bytes: int
    flips: float
    """Share of texts whose label depends on the others in the batch."""


def run(
    params: Params,
    *,
    comparison: Path,
    quantization: Path,
    packages: Path,
    validation_predictions: Path,
    selection: Path,
    frontier: Path,
    candidates: Path,
    candidate: Path,
) -> None:
    """Writes the choice, the frontier as a table and as a picture, and a copy of the chosen package."""
    compared: dict[str, Any] = files.read_json(comparison)
    made: dict[str, Any] = files.read_json(quantization)
    known = [_candidate(name, entry, made[name]["flips"]) for name, entry in sorted(compared.items())]
    _check_reference(params, known)
    differences = _differences(params, known, packages, validation_predictions)
    chosen, reason = choose(params, known, differences)
    best = undominated(known)
    _copy(packages / chosen.name, candidate, digest=compared[chosen.name]["digest"])
    _write_frontier(frontier, known, best, chosen)
    _draw(params, candidates, compared, known, best, chosen)
    content = {"chosen": chosen.name, "digest": compared[chosen.name]["digest"], "policy": params.policy}
    files.write_json(selection, {**content, "reason": reason, "frontier": best, "differences": differences})
    print(f"chosen: {chosen.name} ({reason})")


def dominates(a: Candidate, b: Candidate) -> bool:
    """Whether `a` is at least as accurate, fast and small as `b`, and better in one of these."""
    pairs = ((a.accuracy, b.accuracy), (-a.latency_ms, -b.latency_ms), (-a.bytes, -b.bytes))
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)


def undominated(candidates: Sequence[Candidate]) -> list[str]:
    """The frontier: the names of those that no other dominates, in the order given."""
    return [one.name for one in candidates if not any(dominates(other, one) for other in candidates)]


def choose(
    params: Params, candidates: Sequence[Candidate], differences: Mapping[str, Mapping[str, Any]]
) -> tuple[Candidate, str]:
    """The policy's choice and its reason.

    Args:
        differences: by name the accuracy minus that of the reference: `value`, `low`, `high`. A `low` of
            None (too few groups) shows nothing, so such a candidate is not chosen for being cheap.
    """
    if len(candidates) == 1:
        return candidates[0], "it is the only candidate"
    steady = [one for one in candidates if one.name == params.reference or one.flips <= params.most_flips]
    if params.policy == "most_accurate":
        best = min(steady, key=lambda one: (-one.accuracy, *_costs(params, one), one.name))
        reason = f"its accuracy on validation, {best.accuracy:.3f}, is the highest of {len(steady)} candidates"
        return best, reason + _left_out(params, candidates)
    sound = [one for one in steady if one.name == params.reference or _shown(params, differences[one.name])]
    chosen = min(sound, key=lambda one: (*_costs(params, one), -one.accuracy, one.name))
    return chosen, _reason(params, chosen, sound, steady, differences) + _left_out(params, candidates)


def _left_out(params: Params, candidates: Sequence[Candidate]) -> str:
    names = [one.name for one in candidates if one.name != params.reference and one.flips > params.most_flips]
    return f"; labels depend on the batch in more than {params.most_flips:.1%}: {', '.join(names)}" if names else ""


def _costs(params: Params, one: Candidate) -> tuple[float, float]:
    return (one.latency_ms, one.bytes) if params.cost == "latency_ms" else (one.bytes, one.latency_ms)


def _shown(params: Params, difference: Mapping[str, Any]) -> bool:
    return difference["low"] is not None and difference["low"] > -params.margin


def _reason(
    params: Params,
    chosen: Candidate,
    sound: Sequence[Candidate],
    candidates: Sequence[Candidate],
    differences: Mapping[str, Mapping[str, Any]],
) -> str:
    reference, cost = params.reference, "fastest" if params.cost == "latency_ms" else "smallest"
    rejected = [one.name for one in candidates if one not in sound]
    tail = f"; not shown to be within {params.margin:g}: {', '.join(rejected)}" if rejected else ""
    if chosen.name == reference:
        return f"it is the reference and the {cost} of {len(sound)} not inferior candidates{tail}"
    low, value = differences[chosen.name]["low"], differences[chosen.name]["value"]
    return (
        f"it is the {cost} of {len(sound)} not inferior candidates: its accuracy minus that of {reference} is "
        f"{value:+.3f}, at least {low:+.3f} at {params.confidence:.0%} confidence, allowed is {-params.margin:+g}{tail}"
    )


def _candidate(name: str, entry: Mapping[str, Any], flips: float) -> Candidate:
    return Candidate(
        name=name,
        accuracy=entry["accuracy"]["value"],
        macro_f1=entry["macro_f1"]["value"],
        latency_ms=entry["latency"]["single_ms"]["p50"],
        bytes=entry["bytes"],
        flips=flips,
    )


def _check_reference(params: Params, candidates: Sequence[Candidate]) -> None:
    names = [one.name for one in candidates]
    if params.reference not in names:
        cause = f"is {params.reference!r}, which is no candidate"
        raise DataError("select.reference in params.yaml", cause, f"Name one of: {', '.join(names)}")


def _differences(
    params: Params, candidates: Iterable[Candidate], packages: Path, validation_predictions: Path
) -> dict[str, dict[str, Any]]:
    """By name, the reference left out, its accuracy minus that of the reference on the same rows."""
    from tidegate.evidence import predictions, scoring
    from tidegate.package import read_metadata

    labels = read_metadata(packages / params.reference)["labels"]
    judged = {one.name: predictions.read(validation_predictions / f"{one.name}.parquet", labels) for one in candidates}
    return {
        name: scoring.paired(
            p, judged[params.reference], replicates=params.replicates, seed=params.seed, confidence=params.confidence
        )["accuracy"]
        for name, p in judged.items()
        if name != params.reference
    }


def _copy(package: Path, candidate: Path, *, digest: str) -> None:
    if (found := files.digest_folder(package)) != digest:
        cause = f"has digest {found}, compared was {digest}"
        raise PackageError(str(package), cause, "Run `dvc repro`, which compares it anew")
    with files.replacing(candidate) as draft:
        files.copy_folder(package, draft)


def _write_frontier(path: Path, candidates: Iterable[Candidate], best: Sequence[str], chosen: Candidate) -> None:
    header = ("candidate", "accuracy", "macro_f1", "latency_ms", "bytes", "on_frontier", "chosen")
    with files.replacing(path) as draft, draft.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        for one in candidates:
            facts = (one.name, one.accuracy, one.macro_f1, one.latency_ms, one.bytes)
            writer.writerow([*facts, str(one.name in best).lower(), str(one is chosen).lower()])


def _draw(
    params: Params, path: Path, compared: Mapping[str, Any], known: Sequence[Candidate], best: Sequence[str],
    chosen: Candidate,
) -> None:  # fmt: skip
    from tidegate.evidence import frontier

    figures = {one.name: compared[one.name]["accuracy"] for one in known}
    points = [
        frontier.Point(
            name=one.name, accuracy=one.accuracy, low=_or(figures[one.name]["low"], one.accuracy),
            high=_or(figures[one.name]["high"], one.accuracy), latency_ms=one.latency_ms, megabytes=one.bytes / 1e6,
            on_frontier=one.name in best, chosen=one is chosen,
        )
        for one in known
    ]  # fmt: skip
    reference = next(one for one in known if one.name == params.reference)
    floor = reference.accuracy - params.margin if params.policy == "cheapest_not_inferior" else None
    frontier.draw(path, points, rows=compared[chosen.name]["rows"], floor=floor)


def _or(end: float | None, value: float) -> float:
    return value if end is None else end
