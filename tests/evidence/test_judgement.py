"""The gate's rules about predictions."""

import numpy as np

from tidegate.evidence import judgement
from tidegate.evidence.rules import Test
from tidegate.evidence.scoring import Predictions

TEST = Test(alpha=0.025, power=0.8, replicates=1000, seed=0)


def model(right: float, *, n: int = 1500, seed: int = 0, groups: int = 500) -> Predictions:
    """Right on about that share of rows; the rows are the same for all models."""
    rows = np.random.default_rng(0)
    actual, number = rows.integers(0, 2, n), rows.integers(0, groups, n)
    hit = np.random.default_rng([seed, 1]).random(n) < right
    confident = np.where(hit, actual, 1 - actual)
    probabilities = np.where(np.eye(2)[confident] > 0, right, 1 - right)
    part = np.array(["a", "b"])[rows.integers(0, 2, n)]
    return Predictions(
        np.arange(n).astype(str), number.astype(str), ("x", "y"), actual, probabilities.astype(float), {"part": part}
    )


def verdicts(a: Predictions, b: Predictions, bound: float) -> set[str]:
    return {r.verdict for r in judgement.compared("champion", "that of it", a, b, {"accuracy": bound}, TEST)}


def test_superiority_and_its_refutation_are_shown():
    assert verdicts(model(0.9, seed=1), model(0.8, seed=2), 0.0) == {"pass"}
    assert verdicts(model(0.8, seed=1), model(0.9, seed=2), 0.0) == {"fail"}


def test_a_model_is_not_superior_to_itself_and_not_inferior_either():
    assert verdicts(model(0.9), model(0.9), 0.0) == {"undecided"}
    assert verdicts(model(0.9), model(0.9), -0.01) == {"pass"}


def test_an_equal_model_seldom_passes_for_superior():
    found = [verdicts(model(0.8, n=300, seed=2 * s), model(0.8, n=300, seed=2 * s + 1), 0.0) for s in range(150)]
    assert found.count({"pass"}) <= 9  # 2.5 % of 150 are 4; ten or more have a chance below 0.01


def test_one_rule_a_figure_is_made_and_named_after_it():
    bounds = {"accuracy": 0.0, "macro_f1": -0.01}
    found = list(judgement.compared("best", "that of it", model(0.9), model(0.8, seed=3), bounds, TEST))
    assert [(rule.name, rule.bound, rule.n) for rule in found] == [
        ("best_accuracy", 0.0, 1500),
        ("best_macro_f1", -0.01, 1500),
    ]


def test_floors_and_calibration_are_judged_and_null_bounds_are_off():
    found = judgement.on_its_own(
        model(0.9), floors={"accuracy": 0.8, "macro_f1": None}, calibration_ceiling=0.1, test=TEST
    )
    assert {rule.name: rule.verdict for rule in found} == {
        "floor_accuracy": "pass", "floor_macro_f1": "off", "calibration": "pass"
    }  # fmt: skip


def test_a_harmed_slice_is_found_though_the_whole_is_better():
    a, b = model(0.95, seed=1), model(0.85, seed=2)
    probabilities = a.probabilities.copy()
    wrong = (a.slices["part"] == "b") & (np.arange(1500) % 10 < 3)
    probabilities[wrong] = 1 - np.eye(2)[a.actual[wrong]]
    harmed = Predictions(a.ids, a.groups, a.labels, a.actual, probabilities, a.slices)
    rule = judgement.slices(harmed, b, margin=0.02, minimum_rows=100, test=TEST)
    assert rule.verdict == "fail"
    assert "part=b" in rule.sentence
    assert judgement.slices(a, b, margin=0.02, minimum_rows=100, test=TEST).verdict == "pass"
    assert judgement.slices(harmed, b, margin=0.02, minimum_rows=5000, test=TEST).verdict == "pass"
