"""Stage gate: holds the evidence against the rules and writes the decision, whatever it is; it never exits non-zero.

The rules themselves are in `rules` and `judgement`, the evidence in `findings`. This module says which rules there are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tidegate import files
from tidegate.params import Range

if TYPE_CHECKING:
    from tidegate.evidence.budget import Budget
    from tidegate.evidence.findings import Evidence
    from tidegate.evidence.rules import Rule, Test

Margin = Annotated[float, Range(ge=0, lt=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The bounds of the rules; null switches a rule off, and the decision says so."""

    mode: Literal["replace", "refresh", "recover"]
    """`replace`: superior to the champion; `refresh`: not inferior to it by the margin; `recover`, after drift:
    superior on the test rows that came from feedback, and not inferior on all others."""
    primary: Literal["accuracy", "macro_f1"]
    """The figure that has to be superior where superiority is asked; the other must not be inferior by the margin."""
    alpha: Annotated[float, Range(gt=0, le=0.25)]
    """Chance of a wrong pass at the bound, one-sided, by rule; the intervals shown cover 1 - 2 alpha."""
    power: Annotated[float, Range(ge=0.5, lt=1)]
    """Chance of a decision that the number of further rows asks for."""
    replicates: Annotated[int, Range(ge=1000, le=100_000)]
    """How often the groups are drawn anew for an interval."""
    seed: Annotated[int, Range(ge=0, lt=2**31)]
    """Of those draws."""
    baseline_lead: Margin | None
    """Accuracy and macro-F1 have to exceed the baseline's by more than this."""
    champion_margin: Margin
    """By how much accuracy and macro-F1 may lie below the champion's where non-inferiority is asked."""
    best_margin: Margin | None
    """By how much they may lie below those of the best ever."""
    accuracy_floor: Margin | None
    """Share of rows."""
    macro_f1_floor: Margin | None
    """Macro-F1."""
    slice_margin: Margin | None
    """Accuracy; no slice may be shown to lose more than this against the champion."""
    slice_minimum_rows: Annotated[int, Range(ge=1)]
    """Rows; smaller slices are listed and not tested."""
    slice_gap_ceiling: Annotated[float, Range(gt=0, le=1)] | None
    """Accuracy; no two slices of a column may lie further apart than this."""
    negative_flips_ceiling: Annotated[float, Range(gt=0, le=1)] | None
    """Share of test rows that the champion has right and the candidate has wrong."""
    calibration_ceiling: Annotated[float, Range(gt=0, le=1)] | None
    """Expected calibration error."""
    latency_ceiling_ms: Annotated[float, Range(gt=0)] | None
    """Milliseconds; 95th percentile of one text."""
    size_ceiling_mb: Annotated[float, Range(gt=0)] | None
    """Megabytes (10^6 bytes) of the package."""
    gap_ceiling: Annotated[float, Range(ge=0, le=1)] | None
    """Accuracy on train minus accuracy on validation."""
    leakage_ceiling: Annotated[int, Range(ge=0)] | None
    """Groups, and exact or near duplicates, that cross the splits."""
    robustness_floor: Annotated[float, Range(ge=0, le=1)] | None
    """Share of rows whose label stays when the text is perturbed, under the worst perturbation of `compare`."""


def run(
    params: Params, *, evaluation: Path, predictions: Path, golden: Path, comparison: Path, selection: Path,
    training: Path, distillation: Path, pruning: Path, quantization: Path, leakage: Path, candidate: Path,
    champion: Path, task: Path, test: Path, decision: Path, flips: Path,
) -> None:  # fmt: skip
    """Judges the candidate and writes the decision, bound to the digests of all that was judged."""
    from tidegate.evidence.findings import Evidence
    from tidegate.evidence.flips import write as write_flips
    from tidegate.evidence.rules import combine, reasons
    from tidegate.pipeline import recipe
    from tidegate.report import rules_table

    reports = (evaluation, comparison, selection, training, distillation, pruning, quantization, leakage)
    found = {path.stem: files.read_json(path) for path in reports}
    evidence = Evidence(
        evaluation=found["evaluation"], predictions=predictions, comparison=found["comparison"],
        trainings={"teacher": found["training"], **found["distillation"], **found["pruning"]},
        made_of=found["quantization"], name=found["selection"]["chosen"], leakage=found["leakage"],
        task=files.read_json(task), test=test, candidate=files.digest_folder(candidate),
        champion=files.read_json(champion / "champion.json"),
    )  # fmt: skip
    evidence.check()
    judged, scored, counted = list(rules_of(params, evidence)), evidence.evaluation, budget_of(params, evidence)
    content = {
        "task": evidence.task["task"], "mode": params.mode, "verdict": combine(judged), "reasons": reasons(judged),
        "candidate": evidence.candidate, "recipe": recipe("select")["digest"],
        "champion": evidence.digest_of("champion"), "best": evidence.digest_of("best"),
        "test": {
            "digest": scored["test_digest"], "rows": scored["rows"], "groups": scored["groups"],
            "supports": counted.supports, "budget": counted.as_json(),
        },
        "rules": [rule.as_json() for rule in judged],
        "evidence": {path.name: _digest(path) for path in (*reports, predictions, golden)},
    }  # fmt: skip
    write_flips(flips, evidence.chosen, evidence.predicted_by("champion") if evidence.comparable("champion") else None)
    files.write_json(decision, content)
    print(rules_table(content))


def _digest(path: Path) -> str:
    return files.digest_folder(path) if path.is_dir() else files.sha256(path)


def budget_of(params: Params, evidence: "Evidence") -> "Budget":
    """How many decisions the test set supports, as far as the candidate and the one it is compared with show."""
    from tidegate.evidence import judgement

    tolerance = params.champion_margin if params.best_margin is None else params.best_margin
    return judgement.budget(
        evidence.chosen, evidence.predicted_by(evidence.reference), against=evidence.reference, tolerance=tolerance,
        test=_test(params),
    )  # fmt: skip


def _test(params: Params) -> "Test":
    from tidegate.evidence.rules import Test

    return Test(alpha=params.alpha, power=params.power, replicates=params.replicates, seed=params.seed)


def rules_of(params: Params, evidence: "Evidence") -> Iterator["Rule"]:
    """Every rule, in the order in which a person asks."""
    from tidegate.evidence import judgement

    test = _test(params)
    yield from _against_baseline(params, evidence, test)
    yield from _against_champion(params, evidence, test)
    yield from _against_best(params, evidence, test)
    yield from judgement.on_its_own(
        evidence.chosen, floors={"accuracy": params.accuracy_floor, "macro_f1": params.macro_f1_floor},
        calibration_ceiling=params.calibration_ceiling, test=test,
    )  # fmt: skip
    yield from _harmed(params, evidence, test)
    yield from _measured(params, evidence)
    yield _robustness(params, evidence, test)


def _against_baseline(params: Params, evidence: "Evidence", test: "Test") -> Iterator["Rule"]:
    from tidegate.evidence import judgement, rules

    if params.baseline_lead is None:
        yield rules.off("baseline")
        return
    bounds, other = dict.fromkeys(judgement.WORDS, params.baseline_lead), evidence.predicted_by("baseline")
    yield from judgement.compared("baseline", "that of the baseline", evidence.chosen, other, bounds, test)


def _against_champion(params: Params, evidence: "Evidence", test: "Test") -> Iterator["Rule"]:
    from tidegate.evidence import judgement

    if (settled := evidence.settled("champion", "champion")) is not None:
        yield settled
        return
    a, b, primary, margin = evidence.chosen, evidence.predicted_by("champion"), params.primary, params.champion_margin
    if params.mode == "recover":
        yield from judgement.recovered(a, b, evidence.recent, primary=primary, margin=margin, test=test)
    else:
        superior = params.mode == "replace"
        yield from judgement.challenged(a, b, superior=superior, primary=primary, margin=margin, test=test)


def _against_best(params: Params, evidence: "Evidence", test: "Test") -> Iterator["Rule"]:
    """After drift the best ever is judged on the rows of its own world, the frozen core."""
    from tidegate.evidence import judgement, rules

    if params.best_margin is None:
        yield rules.off("best")
        return
    if (settled := evidence.settled("best", "best ever")) is not None:
        yield settled
        return
    a, b, whose = evidence.chosen, evidence.predicted_by("best"), "that of the best ever"
    if params.mode == "recover":
        if evidence.recent.all():
            yield rules.stated("best", "undecided", judgement.EMPTY["champion_core"])
            return
        a, b, whose = a.where(~evidence.recent), b.where(~evidence.recent), f"{whose} on the frozen core"
    yield from judgement.compared("best", whose, a, b, dict.fromkeys(judgement.WORDS, -params.best_margin), test)


def _harmed(params: Params, evidence: "Evidence", test: "Test") -> Iterator["Rule"]:
    """Whom a better average may have been paid for by."""
    from tidegate.evidence import judgement, rules

    settled = evidence.settled("champion", "champion")
    a, rows = evidence.chosen, params.slice_minimum_rows
    if params.slice_margin is None:
        yield rules.off("slices")
    elif settled:
        yield replace(settled, name="slices")
    else:
        b = evidence.predicted_by("champion")
        yield judgement.slices(a, b, margin=params.slice_margin, minimum_rows=rows, test=test)
    if params.slice_gap_ceiling is None:
        yield rules.off("slice_gap")
    else:
        yield judgement.slice_gap(a, ceiling=params.slice_gap_ceiling, minimum_rows=rows, test=test)
    if params.negative_flips_ceiling is None:
        yield rules.off("negative_flips")
    elif settled:
        yield replace(settled, name="negative_flips")
    else:
        b = evidence.predicted_by("champion")
        yield judgement.negative_flips(a, b, ceiling=params.negative_flips_ceiling, test=test)


def _measured(params: Params, evidence: "Evidence") -> Iterator["Rule"]:
    from tidegate.evidence import rules

    scored = evidence.evaluation["models"]["candidate"]
    crossing = sum(evidence.leakage[key] for key in ("groups_crossing", "exact_crossing", "near_crossing"))
    latency, gap = scored["latency"], evidence.gap
    ceilings = (
        ("latency", "The 95th percentile of one text", latency["single_ms"]["p95"], params.latency_ceiling_ms, "ms"),
        ("size", "The package", scored["bytes"] / 1e6, params.size_ceiling_mb, "MB"),
        ("overfitting", "Accuracy on train minus validation", gap, params.gap_ceiling, "accuracy"),
        ("leakage", "What crosses the splits", crossing, params.leakage_ceiling, "groups and rows"),
    )
    for name, subject, value, ceiling, unit in ceilings:
        yield rules.off(name) if ceiling is None else rules.at_most(name, subject, value, ceiling, unit=unit)


def _robustness(params: Params, evidence: "Evidence", test: "Test") -> "Rule":
    from tidegate.evidence import rules

    if params.robustness_floor is None:
        return rules.off("robustness")
    own = [entry["robustness"] for entry in evidence.comparison.values() if entry["digest"] == evidence.candidate]
    kept = dict(own[0]) if own else {}
    if not (rows := kept.pop("rows", 0)):
        return rules.stated("robustness", "undecided", "Nothing was perturbed: comparison.json is of other packages.")
    worst = min(kept, key=lambda name: (kept[name]["value"], name))
    subject = f"The share of labels kept under {worst.replace('_', ' ')} (validation)"
    figure = rules.Figure.of(kept[worst], rows)
    return rules.above("robustness", subject, figure, params.robustness_floor, test, unit="share")
