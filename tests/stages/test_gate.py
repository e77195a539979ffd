"""Stage gate: the decision and what it is bound to."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from tidegate import files, params, pipeline
from tidegate.errors import DataError
from tidegate.evidence import predictions
from tidegate.evidence.scoring import Predictions
from tidegate.stages import gate

LABELS = ("bad", "good")
SHIPPED = params.bind(
    gate.Params, yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))["gate"], section="gate"
)
PARAMS = dataclasses.replace(SHIPPED, replicates=1000, slice_minimum_rows=50)
NONE = {"digest": None, "comparable": False, "reason": "none is pinned"}


def model(right: float, seed: int, n: int = 1200) -> Predictions:
    rows = np.random.default_rng(0)
    actual, groups = rows.integers(0, 2, n), rows.integers(0, n // 2, n)
    half = np.array(["left", "right"])[rows.integers(0, 2, n)]
    said = np.where(np.random.default_rng([9, seed]).random(n) < right, actual, 1 - actual)
    probabilities = np.where(np.eye(2)[said] > 0, max(right, 0.6), 1 - max(right, 0.6))
    return Predictions(np.arange(n).astype(str), groups.astype(str), LABELS, actual, probabilities, {"half": half})


class World:
    """Evidence as the earlier stages leave it; everything passes until a test changes it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        (data / "candidate").mkdir(parents=True)
        (data / "candidate" / "model.onnx").write_text("a model")
        self.digest = files.digest_folder(data / "candidate")
        self.compared = self.digest
        self.models = {"candidate": model(0.9, 1), "baseline": model(0.7, 2)}
        self.same_as: dict[str, str] = {}
        self.origin = ["source"] * 1200
        self.pins: dict[str, Any] = {"champion": NONE, "best": NONE}
        self.speed: dict[str, Any] = {"latency": {"single_ms": {"p95": 5.0}}, "bytes": 90_000_000}
        self.crossing, self.gap = 0, 0.05
        self.kept = {"value": 0.9, "low": 0.88, "high": 0.92}

    def add(self, role: str, p: Predictions) -> None:
        self.models[role] = p
        self.pins[role] = {"digest": role * 4, "comparable": True, "reason": "same task and labels"}

    def tests(self) -> str:
        ids = self.models["candidate"].ids.tolist()
        pl.DataFrame({"id": ids, "origin": self.origin}).write_parquet(self.data / "test.parquet")
        return files.sha256(self.data / "test.parquet")

    def decide(self, settings: gate.Params = PARAMS) -> dict[str, Any]:
        for role, p in self.models.items():
            predictions.write(self.data / "predictions" / f"{role}.parquet", p)
        rows = self.models["candidate"]
        content = {
            "evaluation": {
                "rows": len(rows.ids), "groups": rows.group_count, "test_digest": self.tests(), "same_as": self.same_as,
                "models": {**{role: {} for role in self.models}, "candidate": {"digest": self.digest, **self.speed}},
            },
            "comparison": {
                "teacher": {"digest": self.compared, "robustness": {"rows": 500, "typing_errors": self.kept}}
            },
            "training": {"gap": {"accuracy": 0.0, "macro_f1": 0.1}},
            "distillation": {"student": {"gap": {"accuracy": 0.0, "macro_f1": 0.1}}},
            "pruning": {"student_pruned": {"gap": {"accuracy": self.gap, "macro_f1": 0.1}, "of": "student"}},
            "quantization": {"small_int8": {"of": "student_pruned"}, "teacher": {"of": "teacher"}},
            "selection": {"chosen": "small_int8"},
            "golden": [],
            "leakage": {"groups_crossing": 0, "exact_crossing": 0, "near_crossing": self.crossing},
            "task": {"task": "channels", "labels": LABELS, "slices": ["half"]},
            "champion/champion": self.pins,
        }  # fmt: skip
        for name, value in content.items():
            files.write_json(self.data / f"{name}.json", value)
        names = (
            "evaluation.json", "predictions", "golden.json", "comparison.json", "selection.json", "training.json",
            "distillation.json", "pruning.json", "quantization.json", "leakage.json", "candidate", "champion",
            "task.json", "test.parquet", "decision.json", "flips.csv",
        )  # fmt: skip
        gate.run(settings, **{name.split(".")[0]: self.data / name for name in names})
        found: dict[str, Any] = json.loads((self.data / "decision.json").read_text())
        return found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(pipeline, "recipe", lambda stage: {"digest": f"recipe of {stage}"})
    return World(tmp_path / "data")


def verdicts(decision: dict[str, Any]) -> dict[str, str]:
    return {rule["name"]: rule["verdict"] for rule in decision["rules"]}


def test_a_first_model_that_beats_the_baseline_passes(world: World):
    decision = world.decide()
    assert decision["verdict"] == "pass"
    assert set(verdicts(decision).values()) == {"pass"}
    assert any("no champion" in reason for reason in decision["reasons"])
    assert decision["champion"] is None


def test_the_decision_is_bound_to_what_was_judged(world: World):
    decision = world.decide()
    assert decision["candidate"] == world.digest
    assert decision["recipe"] == "recipe of select"
    told = {name: decision["test"][name] for name in ("digest", "rows", "groups")}
    groups = world.models["candidate"].group_count
    assert told == {"digest": files.sha256(world.data / "test.parquet"), "rows": 1200, "groups": groups}
    assert decision["evidence"] == {
        **{
            f"{n}.json": files.sha256(world.data / f"{n}.json")
            for n in (
                "evaluation",
                "comparison",
                "selection",
                "training",
                "distillation",
                "pruning",
                "quantization",
                "leakage",
                "golden",
            )
        },
        "predictions": files.digest_folder(world.data / "predictions"),
    }
    assert set(decision["rules"][0]) >= {"name", "verdict", "figure", "bound", "low", "high", "n", "unit", "sentence"}


def test_the_gap_is_that_of_the_model_that_was_packaged(world: World):
    world.gap = 0.9
    decision = world.decide()
    assert [rule["figure"] for rule in decision["rules"] if rule["name"] == "overfitting"] == [0.9]
    assert decision["verdict"] == "fail"


def test_a_second_run_gives_the_same_bytes(world: World):
    world.decide()
    before = (world.data / "decision.json").read_bytes()
    world.decide()
    assert (world.data / "decision.json").read_bytes() == before


def test_the_shipped_params_switch_no_rule_off(world: World):
    assert all(getattr(SHIPPED, field.name) is not None for field in dataclasses.fields(SHIPPED))
    assert "off" not in verdicts(world.decide()).values()


def test_a_null_bound_switches_its_rule_off_and_the_decision_says_so(world: World):
    bounds = (
        "baseline_lead", "best_margin", "accuracy_floor", "macro_f1_floor", "slice_margin", "slice_gap_ceiling",
        "negative_flips_ceiling", "calibration_ceiling", "latency_ceiling_ms", "size_ceiling_mb", "gap_ceiling",
        "leakage_ceiling", "robustness_floor",
    )  # fmt: skip
    decision = world.decide(dataclasses.replace(PARAMS, **dict.fromkeys(bounds)))
    assert list(verdicts(decision).values()).count("off") == len(bounds)
    assert verdicts(decision)["champion"] == "pass"


@pytest.mark.parametrize(
    ("right", "mode", "verdict"),
    [
        (0.80, "replace", "pass"),  # the champion is clearly worse
        (0.97, "replace", "fail"),  # and clearly better
        (0.97, "refresh", "fail"),
        (0.80, "refresh", "pass"),
    ],
)
def test_the_champion_is_compared_in_the_mode_asked_for(world: World, right: float, mode: Any, verdict: str):
    world.add("champion", model(right, 5))
    decision = world.decide(dataclasses.replace(PARAMS, mode=mode))
    assert verdicts(decision)["champion_accuracy"] == verdict
    assert decision["mode"] == mode
    assert decision["champion"] == "champion" * 4


def test_an_equal_champion_is_not_replaced_but_may_be_refreshed(world: World):
    world.add("champion", world.models["candidate"])
    assert world.decide()["verdict"] == "undecided"
    assert world.decide(dataclasses.replace(PARAMS, mode="refresh"))["verdict"] == "pass"


def test_undecided_says_how_many_more_rows_would_decide(world: World):
    world.add("champion", model(0.885, 6))
    decision = world.decide()
    rule = next(rule for rule in decision["rules"] if rule["name"] == "champion_accuracy")
    assert decision["verdict"] == "undecided"
    assert rule["more_rows"] > 0
    assert any("more labelled rows" in reason for reason in decision["reasons"])


def test_a_candidate_worse_than_the_best_ever_fails(world: World):
    world.add("champion", model(0.8, 5))
    world.add("best", model(0.98, 7))
    decision = world.decide()
    assert (verdicts(decision)["champion_accuracy"], decision["verdict"]) == ("pass", "fail")


def test_the_champion_itself_has_nothing_to_replace(world: World):
    world.same_as = {"champion": "candidate"}
    world.pins["champion"] = {"digest": world.digest, "comparable": True, "reason": "same task and labels"}
    decision = world.decide()
    assert decision["verdict"] == "pass"
    assert any("nothing to replace" in reason for reason in decision["reasons"])


def test_a_best_ever_that_is_the_champion_is_read_from_its_predictions(world: World):
    world.add("champion", model(0.8, 5))
    world.same_as = {"best": "champion"}
    world.pins["best"] = world.pins["champion"]
    assert verdicts(world.decide())["best_accuracy"] == "pass"


def test_a_champion_that_cannot_be_compared_leaves_it_undecided(world: World):
    world.pins["champion"] = {"digest": "d" * 64, "comparable": False, "reason": "its labels are others"}
    decision = world.decide()
    assert decision["verdict"] == "undecided"
    assert "its labels are others" in decision["reasons"][0]


def test_a_harmed_slice_fails(world: World):
    world.add("champion", model(0.8, 5))
    chosen = world.models["candidate"]
    spoiled = chosen.probabilities.copy()
    left = (chosen.slices["half"] == "left") & (np.arange(1200) % 10 < 4)
    spoiled[left] = 1 - np.eye(2)[chosen.actual[left]]
    world.models["candidate"] = dataclasses.replace(chosen, probabilities=spoiled)
    assert verdicts(world.decide())["slices"] == "fail"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"speed": {"latency": {"single_ms": {"p95": 500.0}}, "bytes": 1}}, "latency"),
        ({"speed": {"latency": {"single_ms": {"p95": 5.0}}, "bytes": 10**9}}, "size"),
        ({"gap": 0.5}, "overfitting"),
        ({"crossing": 1}, "leakage"),
        ({"kept": {"value": 0.3, "low": 0.25, "high": 0.35}}, "robustness"),
    ],
)
def test_each_measured_bound_can_fail_a_candidate(world: World, change: dict[str, Any], rule: str):
    for name, value in change.items():
        setattr(world, name, value)
    decision = world.decide()
    assert {name for name, verdict in verdicts(decision).items() if verdict != "pass"} == {rule}
    assert decision["verdict"] == "fail"


@pytest.mark.parametrize(
    ("right", "rule"), [(0.45, "floor_accuracy"), (0.45, "floor_macro_f1"), (0.6, "baseline_accuracy")]
)
def test_a_bad_model_fails(world: World, right: float, rule: str):
    world.models["candidate"] = model(right, 1)
    decision = world.decide()
    assert verdicts(decision)[rule] == "fail"
    assert decision["verdict"] == "fail"


def test_a_badly_calibrated_model_fails(world: World):
    chosen = model(0.7, 1)
    world.models["candidate"] = dataclasses.replace(chosen, probabilities=np.eye(2)[chosen.predicted])
    assert verdicts(world.decide())["calibration"] == "fail"


def test_robustness_of_another_package_decides_nothing(world: World):
    world.compared = "x" * 64
    decision = world.decide()
    assert verdicts(decision)["robustness"] == "undecided"
    assert decision["verdict"] == "undecided"


def test_evidence_about_another_candidate_is_refused(world: World):
    (world.data / "candidate" / "model.onnx").write_text("another model")
    with pytest.raises(DataError, match="another candidate"):
        world.decide()
    assert not (world.data / "decision.json").exists()


def test_the_table_of_rules_is_printed(world: World, capsys: pytest.CaptureFixture[str]):
    world.decide()
    out = capsys.readouterr().out
    assert "baseline_accuracy" in out
    assert "PASS" in out


RECOVER = dataclasses.replace(PARAMS, mode="recover", champion_margin=0.03, best_margin=0.03)


def spliced(first: Predictions, second: Predictions, rows: Any) -> Predictions:
    """The first model, but on some rows the second."""
    return dataclasses.replace(first, probabilities=np.where(rows[:, None], second.probabilities, first.probabilities))


def test_recovery_is_judged_on_the_rows_that_came_from_feedback(world: World):
    recent = np.arange(1200) % 2 == 0
    world.origin = ["feedback" if row else "source" for row in recent]
    champion = spliced(model(0.9, 5), model(0.6, 6), recent)
    world.add("champion", champion)
    world.models["candidate"] = spliced(champion, model(0.9, 1), recent)
    decision = world.decide(RECOVER)
    assert (decision["mode"], decision["verdict"]) == ("recover", "pass")
    rule = next(rule for rule in decision["rules"] if rule["name"] == "champion_recent_accuracy")
    assert rule["n"] == 600
    world.origin.reverse()
    assert world.decide(RECOVER)["verdict"] == "undecided"


def test_after_drift_the_best_ever_is_compared_on_the_frozen_core(world: World):
    recent = np.arange(1200) % 2 == 0
    world.origin = ["feedback" if row else "source" for row in recent]
    world.add("champion", spliced(model(0.9, 5), model(0.6, 6), recent))
    world.models["candidate"] = model(0.9, 1)
    world.add("best", spliced(model(0.9, 1), model(0.99, 7), recent))  # better on the recent rows, which do not count
    decision = world.decide(RECOVER)
    assert verdicts(decision)["best_accuracy"] == "pass"
    assert "frozen core" in next(r["sentence"] for r in decision["rules"] if r["name"] == "best_accuracy")
    assert verdicts(world.decide())["best_accuracy"] == "fail"


@pytest.mark.parametrize(("origin", "rule"), [("source", "champion_recent"), ("feedback", "champion_core")])
def test_recovery_without_one_of_the_strata_is_undecided(world: World, origin: str, rule: str):
    world.origin = [origin] * 1200
    world.add("champion", model(0.8, 5))
    world.add("best", model(0.8, 6))
    decision = world.decide(RECOVER)
    assert decision["verdict"] == "undecided"
    assert verdicts(decision)[rule] == "undecided"
    assert any("gate.mode" in reason for reason in decision["reasons"])


def test_negative_flips_are_judged_and_listed(world: World):
    champion = model(0.9, 1)
    broken = champion.probabilities.copy()
    broken[:200] = 1 - np.eye(2)[champion.actual[:200]]
    world.add("champion", champion)
    world.models["candidate"] = dataclasses.replace(champion, probabilities=broken)
    decision = world.decide()
    assert verdicts(decision)["negative_flips"] == "fail"
    listed = pl.read_csv(world.data / "flips.csv")
    flipped = (champion.predicted == champion.actual)[:200].sum()
    assert len(listed) == flipped
    rule = next(rule for rule in decision["rules"] if rule["name"] == "negative_flips")
    assert rule["figure"] == pytest.approx(flipped / 1200)


def test_without_a_champion_no_flip_is_listed(world: World):
    world.decide()
    assert (world.data / "flips.csv").read_text().count("\n") == 1


def test_a_wide_gap_between_slices_fails(world: World):
    chosen = world.models["candidate"]
    wrong = (chosen.slices["half"] == "left") & (np.arange(1200) % 10 < 6)
    spoiled = np.where(wrong[:, None], 1 - np.eye(2)[chosen.actual], chosen.probabilities)
    world.models["candidate"] = dataclasses.replace(chosen, probabilities=spoiled)
    assert verdicts(world.decide())["slice_gap"] == "fail"


@pytest.mark.parametrize("role", ["baseline", "teacher", "champion"])
def test_the_decision_says_how_many_decisions_the_test_set_supports(world: World, role: str):
    if role != "baseline":
        world.add("teacher", model(0.89, 8))
    if role == "champion":
        world.add("champion", model(0.8, 5))
    found = world.decide(dataclasses.replace(PARAMS, best_margin=0.1))["test"]
    assert found["supports"] == found["budget"]["supports"] >= 1
    assert found["budget"]["against"] == role
    assert found["budget"]["tolerance"] == 0.1


def test_evidence_about_other_test_rows_is_refused(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(world, "tests", lambda: world.__class__.tests(world)[::-1])
    with pytest.raises(DataError, match="other test rows"):
        world.decide()
