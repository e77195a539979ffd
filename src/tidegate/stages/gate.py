"""Stage gate: holds the evidence against the rules and writes the decision, whatever it is; it never exits non-zero.

The rules themselves are in `rules`. This module finds the figures that each is about.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tidegate import files
from tidegate.errors import DataError
from tidegate.params import Range

if TYPE_CHECKING:
    from tidegate.evidence.rules import Rule, Test
    from tidegate.evidence.scoring import Decision, Predictions

Margin = Annotated[float, Range(ge=0, lt=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The bounds of the rules; null switches a rule off, and the decision says so."""

    mode: Literal["replace", "refresh"]
    """`replace`: superior to the champion; `refresh`: not inferior to it by the margin."""
    primary: Literal["accuracy", "macro_f1"]
    """In mode `replace` the figure that has to be superior; the other must not be inferior by the margin."""
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
    params: Params, *, evaluation: Path, predictions: Path, comparison: Path, training: Path, leakage: Path,
    candidate: Path, champion: Path, task: Path, decision: Path,
) -> None:  # fmt: skip
    """Judges the candidate and writes the decision, bound to the digests of all that was judged."""
    from tidegate.evidence.rules import combine, reasons
    from tidegate.pipeline import recipe
    from tidegate.report import rules_table

    evidence = Evidence(
        evaluation=files.read_json(evaluation), predictions=predictions, comparison=files.read_json(comparison),
        training=files.read_json(training), leakage=files.read_json(leakage), task=files.read_json(task),
        candidate=files.digest_folder(candidate), champion=files.read_json(champion / "champion.json"),
    )  # fmt: skip
    evidence.check()
    judged, scored = list(rules_of(params, evidence)), evidence.evaluation
    content = {
        "task": evidence.task["task"], "mode": params.mode, "verdict": combine(judged), "reasons": reasons(judged),
        "candidate": evidence.candidate, "recipe": recipe("select")["digest"],
        "champion": evidence.digest_of("champion"), "best": evidence.digest_of("best"),
        "test": {"digest": scored["test_digest"], "rows": scored["rows"], "groups": scored["groups"]},
        "rules": [rule.as_json() for rule in judged],
        "evidence": {path.name: _digest(path) for path in (evaluation, predictions, comparison, training, leakage)},
    }  # fmt: skip
    files.write_json(decision, content)
    print(rules_table(content))


def _digest(path: Path) -> str:
    return files.digest_folder(path) if path.is_dir() else files.sha256(path)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the earlier stages found, as they wrote it."""

    evaluation: Mapping[str, Any]
    predictions: Path
    comparison: Mapping[str, Any]
    training: Mapping[str, Any]
    leakage: Mapping[str, Any]
    task: Mapping[str, Any]
    candidate: str
    champion: Mapping[str, Any]

    def check(self) -> None:
        """Raises a DataError where the evidence is about another candidate."""
        if self.evaluation["models"]["candidate"]["digest"] != self.candidate:
            cause = "is about another candidate than data/candidate"
            raise DataError("evaluation.json", cause, "Run `dvc repro`, which evaluates the present one")

    def digest_of(self, role: str) -> str | None:
        """The digest pinned for a role, comparable or not."""
        digest: str | None = self.champion[role]["digest"]
        return digest

    def predicted_by(self, role: str) -> "Predictions":
        """What the model of a role, or the one that is the same, predicted on test."""
        from tidegate.evidence import predictions

        role = self.evaluation["same_as"].get(role, role)
        return predictions.read(self.predictions / f"{role}.parquet", self.task["labels"])

    @cached_property
    def chosen(self) -> "Predictions":
        """What the candidate predicted on test."""
        return self.predicted_by("candidate")


def rules_of(params: Params, evidence: Evidence) -> Iterator["Rule"]:
    """Every rule, in the order in which a person asks."""
    from tidegate.evidence import judgement
    from tidegate.evidence.rules import Test

    test = Test(alpha=params.alpha, power=params.power, replicates=params.replicates, seed=params.seed)
    yield from _against_baseline(params, evidence, test)
    yield from _against_champion(params, evidence, test)
    yield from _against_best(params, evidence, test)
    yield from judgement.on_its_own(
        evidence.chosen, floors={"accuracy": params.accuracy_floor, "macro_f1": params.macro_f1_floor},
        calibration_ceiling=params.calibration_ceiling, test=test,
    )  # fmt: skip
    yield _slices(params, evidence, test)
    yield from _measured(params, evidence)
    yield _robustness(params, evidence, test)


def _against_baseline(params: Params, evidence: Evidence, test: "Test") -> Iterator["Rule"]:
    from tidegate.evidence import judgement, rules

    if params.baseline_lead is None:
        yield rules.off("baseline")
        return
    bounds, other = dict.fromkeys(judgement.WORDS, params.baseline_lead), evidence.predicted_by("baseline")
    yield from judgement.compared("baseline", "that of the baseline", evidence.chosen, other, bounds, test)


def _against_champion(params: Params, evidence: Evidence, test: "Test") -> Iterator["Rule"]:
    from tidegate.evidence import judgement

    bounds = dict.fromkeys(judgement.WORDS, -params.champion_margin)
    if params.mode == "replace":
        bounds[params.primary] = 0.0
    yield from _against(evidence, "champion", "champion", bounds, test)


def _against_best(params: Params, evidence: Evidence, test: "Test") -> Iterator["Rule"]:
    from tidegate.evidence import judgement, rules

    if params.best_margin is None:
        yield rules.off("best")
        return
    yield from _against(evidence, "best", "best ever", dict.fromkeys(judgement.WORDS, -params.best_margin), test)


def _against(
    evidence: Evidence, role: str, words: str, bounds: "Mapping[Decision, float]", test: "Test"
) -> Iterator["Rule"]:
    from tidegate.evidence import judgement

    if (settled := _without_comparison(evidence, role, words)) is not None:
        yield settled
        return
    other = evidence.predicted_by(role)
    yield from judgement.compared(role, f"that of the {words}", evidence.chosen, other, bounds, test)


def _without_comparison(evidence: Evidence, role: str, words: str) -> "Rule | None":
    """The rule where there is nothing to compare with; None where there is."""
    from tidegate.evidence import rules

    digest, entry = evidence.digest_of(role), evidence.champion[role]
    if digest is None:
        return rules.stated(role, "pass", f"There is no {words} to compare with.")
    if digest == evidence.candidate:
        return rules.stated(role, "pass", f"The candidate is the {words} itself (equal digests): nothing to replace.")
    if entry["comparable"]:
        return None
    sentence = f"The {words} cannot be compared: {entry['reason']}. Give a new label set a new task name."
    return rules.stated(role, "undecided", sentence)


def _slices(params: Params, evidence: Evidence, test: "Test") -> "Rule":
    from tidegate.evidence import judgement, rules

    if params.slice_margin is None:
        return rules.off("slices")
    if (settled := _without_comparison(evidence, "champion", "champion")) is not None:
        return replace(settled, name="slices")
    return judgement.slices(
        evidence.chosen, evidence.predicted_by("champion"), margin=params.slice_margin,
        minimum_rows=params.slice_minimum_rows, test=test,
    )  # fmt: skip


def _measured(params: Params, evidence: Evidence) -> Iterator["Rule"]:
    from tidegate.evidence import rules

    scored = evidence.evaluation["models"]["candidate"]
    crossing = sum(evidence.leakage[key] for key in ("groups_crossing", "exact_crossing", "near_crossing"))
    latency, gap = scored["latency"], evidence.training["gap"]["accuracy"]
    ceilings = (
        ("latency", "The 95th percentile of one text", latency["single_ms"]["p95"], params.latency_ceiling_ms, "ms"),
        ("size", "The package", scored["bytes"] / 1e6, params.size_ceiling_mb, "MB"),
        ("overfitting", "Accuracy on train minus validation", gap, params.gap_ceiling, "accuracy"),
        ("leakage", "What crosses the splits", crossing, params.leakage_ceiling, "groups and rows"),
    )
    for name, subject, value, ceiling, unit in ceilings:
        yield rules.off(name) if ceiling is None else rules.at_most(name, subject, value, ceiling, unit=unit)


def _robustness(params: Params, evidence: Evidence, test: "Test") -> "Rule":
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
