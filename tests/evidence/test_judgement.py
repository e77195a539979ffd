"""The gate's rules about predictions."""

import dataclasses

import numpy as np
import pytest

from tidegate.evidence import judgement, rules, scoring
from tidegate.evidence.rules import Rule, Test
from tidegate.evidence.scoring import Decision, Predictions

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


def test_superiority_asks_the_clustered_mcnemar_test_too():
    a, b = model(0.9, seed=1), model(0.8, seed=2)
    found = {r.name: r for r in challenged(a, b)}
    assert list(found) == ["champion_accuracy", "champion_macro_f1", "champion_mcnemar"]
    assert {rule.verdict for rule in found.values()} == {"pass"}
    assert {r.name: r.verdict for r in challenged(b, a)}["champion_mcnemar"] == "fail"
    assert [r.name for r in challenged(a, b, superior=False)] == ["champion_accuracy", "champion_macro_f1"]
    assert "champion_mcnemar" not in [r.name for r in challenged(a, b, primary="macro_f1")]


def challenged(a: Predictions, b: Predictions, *, superior: bool = True, primary: Decision = "accuracy") -> list[Rule]:
    return list(judgement.challenged(a, b, superior=superior, primary=primary, margin=0.01, test=TEST))


def test_an_undecided_mcnemar_test_asks_for_the_rows_that_the_figure_asks_for():
    found = {r.name: r for r in challenged(model(0.815, seed=1), model(0.8, seed=2))}
    asked = [found[name].more_rows or 0 for name in ("champion_accuracy", "champion_mcnemar")]
    assert found["champion_mcnemar"].verdict == "undecided"
    assert asked[0] == pytest.approx(asked[1], rel=0.2)


def test_the_bounds_are_those_of_superiority_and_of_the_margin():
    assert [r.bound for r in challenged(model(0.9), model(0.8))[:2]] == [0.0, -0.01]
    assert [r.bound for r in challenged(model(0.9), model(0.8), primary="macro_f1")] == [-0.01, 0.0]
    assert [r.bound for r in challenged(model(0.9), model(0.8), superior=False)] == [-0.01, -0.01]


def recovered(a: Predictions, b: Predictions, recent: np.ndarray) -> dict[str, str]:
    found = judgement.recovered(a, b, recent, primary="accuracy", margin=0.02, test=TEST)
    return {rule.name: rule.verdict for rule in found}


def spliced(first: Predictions, second: Predictions, rows: np.ndarray) -> Predictions:
    """The first model, but on some rows the second."""
    probabilities = np.where(rows[:, None], second.probabilities, first.probabilities)
    return dataclasses.replace(first, probabilities=probabilities)


def test_recovery_is_superiority_on_recent_rows_without_loss_on_the_others():
    recent = np.arange(1500) % 3 == 0
    weak, strong = model(0.75, seed=1), model(0.92, seed=2)
    assert set(recovered(spliced(weak, strong, recent), weak, recent).values()) == {"pass"}
    assert set(recovered(strong, spliced(strong, weak, recent), recent)) == {
        "champion_recent_accuracy", "champion_recent_macro_f1", "champion_recent_mcnemar",
        "champion_core_accuracy", "champion_core_macro_f1",
    }  # fmt: skip


def test_recovery_that_forgets_the_frozen_core_fails_though_all_rows_together_are_better():
    recent = np.arange(1500) % 3 > 0
    weak, strong = model(0.7, seed=1), model(0.92, seed=2)
    candidate, champion = spliced(weak, strong, recent), spliced(strong, weak, recent)
    assert (candidate.predicted == candidate.actual).mean() > (champion.predicted == champion.actual).mean()
    found = recovered(candidate, champion, recent)
    assert found["champion_recent_accuracy"] == "pass"
    assert found["champion_core_accuracy"] == "fail"


def test_a_gain_on_the_frozen_core_alone_is_no_recovery():
    recent = np.arange(1500) % 3 == 0
    weak, strong = model(0.75, seed=1), model(0.92, seed=2)
    found = recovered(spliced(strong, weak, recent), weak, recent)
    assert found["champion_recent_accuracy"] == "undecided"


@pytest.mark.parametrize(("share", "rule"), [(0, "champion_recent"), (1, "champion_core")])
def test_a_stratum_without_rows_leaves_recovery_undecided_and_says_what_to_do(share: int, rule: str):
    recent = np.full(1500, bool(share))
    found = judgement.recovered(model(0.9), model(0.8), recent, primary="accuracy", margin=0.02, test=TEST)
    empty = next(r for r in found if r.name == rule)
    assert empty.verdict == "undecided"
    assert "gate.mode" in empty.sentence


def in_slices(right: dict[str, float], rows: dict[str, int], *, seed: int, base: int) -> Predictions:
    """A model that is right in each slice with its own chance; the rows come with `base`, in pairs."""
    part = np.repeat(list(rows), list(rows.values()))
    actual = np.random.default_rng(base).integers(0, 2, len(part))
    hit = np.random.default_rng([seed, base]).random(len(part)) < np.array([right[one] for one in part])
    ids = np.arange(len(part))
    return Predictions(
        ids.astype(str), (ids // 2).astype(str), ("x", "y"), actual, np.eye(2)[np.where(hit, actual, 1 - actual)],
        {"part": part},
    )  # fmt: skip


SMALL = {f"s{i}": 120 for i in range(12)}
ROWS = {"large": 2000, "other": 600, **SMALL}


def test_a_regression_in_one_slice_under_a_better_average_is_stopped_by_the_slice_rule_alone():
    before = in_slices(dict.fromkeys(ROWS, 0.75), ROWS, seed=1, base=0)
    after = in_slices(dict.fromkeys(ROWS, 0.85) | {"other": 0.6}, ROWS, seed=2, base=0)
    judged = [
        *challenged(after, before),
        judgement.slices(after, before, margin=0.02, minimum_rows=100, test=TEST),
        judgement.slice_gap(after, ceiling=0.5, minimum_rows=100, test=TEST),
    ]
    assert {rule.name for rule in judged if rule.verdict != "pass"} == {"slices"}
    assert rules.combine(judged) == "fail"
    assert "part=other" in rules.reasons(judged)[0]


@pytest.mark.parametrize(("slices", "replicates"), [(60, 4000), (100, 1000)])
def test_a_ruined_slice_is_found_among_however_many(slices: int, replicates: int):
    """A resampled p-value ends at one over the replicates: times so many slices it could never be small enough."""
    rows = {f"s{i}": 120 for i in range(slices)}
    before = in_slices(dict.fromkeys(rows, 0.9), rows, seed=1, base=0)
    after = in_slices(dict.fromkeys(rows, 0.95) | {"s7": 0.0}, rows, seed=2, base=0)
    test = dataclasses.replace(TEST, replicates=replicates)
    rule = judgement.slices(after, before, margin=0.02, minimum_rows=100, test=test)
    assert rule.verdict == "fail"
    assert "part=s7" in rule.sentence


def test_an_honest_model_is_not_stopped_by_unlucky_small_slices():
    """Small slices fall by ten points by chance; of 40 honest models at most three are stopped (alpha gives one)."""
    test, stopped, unlucky = dataclasses.replace(TEST, replicates=1000), 0, 0
    for base in range(40):
        a, b = (in_slices(dict.fromkeys(ROWS, 0.75), ROWS, seed=s, base=base) for s in (1, 2))
        rule = judgement.slices(a, b, margin=0.02, minimum_rows=100, test=test)
        stopped += rule.verdict == "fail"
        unlucky += (rule.figure or 0) < -0.05
    assert stopped <= 3
    assert unlucky > 20


def clustered(base: int, seed: int, *, groups: int = 60, size: int = 8) -> Predictions:
    """Right or wrong group by group: an honest test counts groups and not rows."""
    number = np.repeat(np.arange(groups), size)
    actual = np.random.default_rng(base).integers(0, 2, len(number))
    hit = (np.random.default_rng([base, seed]).random(groups) < 0.75)[number]
    probabilities = np.eye(2)[np.where(hit, actual, 1 - actual)]
    return Predictions(np.arange(len(number)).astype(str), number.astype(str), ("x", "y"), actual, probabilities)


def promoted_at_equality(*, by_group: bool, rounds: int = 300) -> int:
    """Of so many pairs of equally good models, how many are promoted by the rules of mode replace."""
    test, pairs = dataclasses.replace(TEST, replicates=500), []
    for base in range(rounds):
        pair = clustered(base, 1), clustered(base, 2)
        pairs += pair if by_group else [dataclasses.replace(p, groups=p.ids) for p in pair]
    found = scoring.decisions_each(pairs, replicates=test.replicates, seed=test.seed)
    judged = (
        judgement.challenged(a, b, superior=True, primary="accuracy", margin=0.01, test=test, found=scoring.minus(x, y))
        for a, b, x, y in zip(pairs[::2], pairs[1::2], found[::2], found[1::2], strict=True)
    )
    return sum(rules.combine(list(one)) == "pass" for one in judged)


def test_replace_promotes_equal_models_as_seldom_as_alpha_says():
    assert promoted_at_equality(by_group=True) <= 15  # 2.5 % of 300 are 7.5; sixteen or more have a chance below 0.01


def test_tests_by_row_would_promote_equal_models_far_too_often():
    assert promoted_at_equality(by_group=False) > 30
