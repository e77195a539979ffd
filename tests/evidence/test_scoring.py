"""Metrics with intervals, slices and paired differences."""

import dataclasses
import time

import numpy as np
import pytest
from sklearn import metrics as sk

from tidegate.errors import DataError
from tidegate.evidence import scoring
from tidegate.evidence.scoring import Predictions

DRAWS = {"replicates": 400, "seed": 1}


def made(
    n: int = 600, *, labels: int = 3, groups: int | None = None, skill: float = 1.2, seed: int = 0, model: int = 0
) -> Predictions:
    """Predictions of a model with some skill; `model` changes the model and leaves the rows as they are."""
    chance = np.random.default_rng(seed)
    actual = chance.integers(0, labels, n)
    number = chance.integers(0, groups or n, n) if groups else np.arange(n)
    halves = np.array(["left", "right"])[chance.integers(0, 2, n)]
    logits = np.random.default_rng([seed, model]).normal(size=(n, labels))
    logits[np.arange(n), actual] += skill
    e = np.exp(logits)
    return Predictions(
        ids=np.array([f"r{i}" for i in range(n)]),
        groups=np.array([f"g{i}" for i in number]),
        labels=tuple("abcdefgh"[:labels]),
        actual=actual,
        probabilities=e / e.sum(axis=1, keepdims=True),
        slices={"half": halves},
    )


def of(actual: list[int], probabilities: list[list[float]], groups: list[str] | None = None) -> Predictions:
    n, k = len(actual), len(probabilities[0])
    names = groups or [str(i) for i in range(n)]
    return Predictions(
        np.array([str(i) for i in range(n)]), np.array(names), tuple("abcdefgh"[:k]), np.array(actual),
        np.array(probabilities),
    )  # fmt: skip


@pytest.mark.parametrize("labels", [2, 3, 6])
def test_figures_equal_those_of_scikit_learn(labels: int):
    p = made(labels=labels, groups=200)
    found = scoring.metrics(p, **DRAWS)
    scores = p.probabilities[:, 1] if labels == 2 else p.probabilities
    assert found["accuracy"]["value"] == pytest.approx(sk.accuracy_score(p.actual, p.predicted))
    assert found["macro_f1"]["value"] == pytest.approx(sk.f1_score(p.actual, p.predicted, average="macro"))
    assert found["log_loss"]["value"] == pytest.approx(sk.log_loss(p.actual, p.probabilities))
    assert found["roc_auc"]["value"] == pytest.approx(sk.roc_auc_score(p.actual, scores, multi_class="ovr"))
    assert found["confusion"] == sk.confusion_matrix(p.actual, p.predicted).tolist()
    precision, recall, f1, rows = sk.precision_recall_fscore_support(p.actual, p.predicted)
    for c, label in enumerate(p.labels):
        row = found["classes"][label]
        assert [row[k]["value"] for k in ("precision", "recall", "f1")] == pytest.approx(
            [precision[c], recall[c], f1[c]]
        )
        assert row["rows"] == rows[c]
    assert (found["rows"], found["groups"]) == (600, len(set(p.groups)))


def test_ties_count_one_half_in_roc_auc():
    p = of([0, 0, 1, 1], [[0.5, 0.5], [0.8, 0.2], [0.5, 0.5], [0.2, 0.8]])
    assert scoring.metrics(p, **DRAWS)["roc_auc"]["value"] == pytest.approx(0.875)


def test_a_tie_of_probabilities_goes_to_the_first_label():
    assert of([0, 1], [[0.5, 0.5], [0.5, 0.5]]).predicted.tolist() == [0, 0]


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    right = [0] * 7 + [1] * 3
    p = of(right, [[0.9, 0.1]] * 10)
    assert scoring.metrics(p, **DRAWS)["expected_calibration_error"]["value"] == pytest.approx(0.2)


def test_calibration_error_of_a_calibrated_model_is_not_shown_above_zero():
    chance = np.random.default_rng(3)
    probabilities = chance.dirichlet([1, 1, 1], 3000)
    actual = np.array([chance.choice(3, p=row) for row in probabilities])
    found = scoring.metrics(of(actual.tolist(), probabilities.tolist()), **DRAWS)["expected_calibration_error"]
    assert found["low"] < 0.005 < found["value"] <= found["high"] < 0.05


def test_bins_are_of_equal_mass_and_keep_ties_together():
    p = made(3000)
    curve = scoring.calibration_curve(p)
    assert {row["rows"] for row in curve} == {200}
    assert scoring.calibration_curve(of([0, 1, 1], [[0.9, 0.1]] * 3)) == [
        {"confidence": pytest.approx(0.9), "accuracy": pytest.approx(1 / 3), "rows": 3}
    ]


def test_intervals_of_roc_auc_are_those_of_resampling_the_rows():
    p, chance, areas = made(200, labels=2), np.random.default_rng(0), []
    for _ in range(400):
        rows = chance.integers(0, 200, 200)
        areas.append(sk.roc_auc_score(p.actual[rows], p.probabilities[rows, 1]))
    found = scoring.metrics(p, replicates=2000, seed=1)["roc_auc"]
    assert [found["low"], found["high"]] == pytest.approx(np.quantile(areas, [0.025, 0.975]).tolist(), abs=0.015)


def test_intervals_hold_their_figure_and_widen_when_rows_are_correlated():
    p = made(900)
    copied = dataclasses.replace(p, groups=np.array([f"g{i // 9}" for i in range(900)]))
    lone, grouped = scoring.metrics(p, **DRAWS), scoring.metrics(copied, **DRAWS)
    for name in ("accuracy", "macro_f1", "roc_auc", "log_loss", "expected_calibration_error"):
        assert lone[name]["low"] <= lone[name]["value"] <= lone[name]["high"]
    repeated = of(
        np.repeat(p.actual, 5).tolist(), np.repeat(p.probabilities, 5, axis=0).tolist(), np.repeat(p.ids, 5).tolist()
    )
    width = {name: f["accuracy"]["high"] - f["accuracy"]["low"] for name, f in (("lone", lone), ("g", grouped))}
    seen = scoring.metrics(repeated, **DRAWS)["accuracy"]
    assert seen["high"] - seen["low"] == pytest.approx(width["lone"], rel=0.1)


def test_equal_input_gives_equal_output():
    assert scoring.metrics(made(groups=50), **DRAWS) == scoring.metrics(made(groups=50), **DRAWS)


def test_a_label_without_rows_is_left_out_of_the_mean_and_undefined_by_itself():
    p = of([0, 0, 1, 1], [[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]])
    found = scoring.metrics(p, **DRAWS)
    assert found["macro_f1"]["value"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["classes"]["c"]["recall"] == {"value": None, "low": None, "high": None}
    assert found["classes"]["c"]["precision"]["value"] == 0
    assert found["roc_auc"]["value"] is not None


def test_rows_of_one_label_leave_roc_auc_undefined():
    assert scoring.metrics(of([1, 1], [[0.2, 0.8], [0.6, 0.4]]), **DRAWS)["roc_auc"]["value"] is None


def test_one_group_gives_figures_without_intervals():
    found = scoring.metrics(made(50, groups=1), **DRAWS)
    assert found["accuracy"]["value"] > 0
    assert found["accuracy"]["low"] is None
    assert found["expected_calibration_error"]["high"] is None


def test_all_right_is_still_uncertain():
    found = scoring.metrics(of([0] * 20 + [1] * 20, [[1.0, 0.0]] * 20 + [[0.0, 1.0]] * 20), **DRAWS)
    assert found["accuracy"] == {"value": 1.0, "low": pytest.approx(0.912, abs=0.001), "high": 1.0}
    assert found["classes"]["a"]["recall"]["low"] == pytest.approx(0.832, abs=0.001)


def test_a_probability_of_zero_costs_much_and_not_everything():
    assert scoring.metrics(of([1, 0], [[1.0, 0.0], [1.0, 0.0]]), **DRAWS)["log_loss"]["value"] == pytest.approx(
        -np.log(1e-15) / 2
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.5, 0.7])
def test_what_is_no_probability_is_refused(bad: float):
    with pytest.raises(DataError):
        of([0, 1], [[0.5, 0.5], [bad, 0.5]])


def test_lengths_that_differ_are_refused():
    with pytest.raises(DataError, match="lengths"):
        dataclasses.replace(made(10), groups=np.array(["g"]))


def test_no_rows_are_refused():
    with pytest.raises(DataError):
        made(10).where(np.zeros(10, dtype=bool))


def test_slices_are_reported_apart_and_small_ones_without_interval():
    p = made()
    small = np.array(["rare"] * 5 + ["often"] * 595)
    found = scoring.by_slice(dataclasses.replace(p, slices={"kind": small}), minimum_rows=50, **DRAWS)["kind"]
    assert found["rare"]["rows"] == 5
    assert found["rare"]["accuracy"]["low"] is None
    rows = small == "often"
    assert found["often"]["accuracy"]["value"] == pytest.approx((p.predicted == p.actual)[rows].mean())
    assert found["often"]["macro_f1"]["low"] < found["often"]["macro_f1"]["value"]


def test_a_better_model_is_told_from_a_worse_one():
    found = scoring.paired(made(skill=2.0, model=1), made(skill=0.8, model=2), **DRAWS)
    assert found["accuracy"]["low"] > 0
    assert found["macro_f1"]["p_value"] < 0.02
    assert found["mcnemar"]["p_value"] < 0.001


def test_the_difference_is_antisymmetric_and_of_a_model_to_itself_zero():
    a, b = made(model=1), made(model=2)
    forth, back = scoring.paired(a, b, **DRAWS), scoring.paired(b, a, **DRAWS)
    assert forth["accuracy"]["value"] == -back["accuracy"]["value"]
    assert forth["macro_f1"]["low"] == pytest.approx(-back["macro_f1"]["high"])
    itself = scoring.paired(a, a, **DRAWS)["accuracy"]
    assert itself == {"value": 0.0, "low": 0.0, "high": 0.0, "p_value": 1.0}


def test_pairing_makes_the_interval_narrower():
    a = made(skill=1.2, model=1)
    near = dataclasses.replace(a, probabilities=np.roll(a.probabilities, 0))
    near.probabilities[:30] = near.probabilities[:30][:, ::-1]
    pair = scoring.paired(a, near, **DRAWS)["accuracy"]
    alone = scoring.metrics(a, **DRAWS)["accuracy"]
    assert pair["high"] - pair["low"] < 0.5 * (alone["high"] - alone["low"])


def test_equal_models_are_told_apart_no_more_often_than_stated():
    found = [
        scoring.paired(made(200, groups=60, seed=s, model=1), made(200, groups=60, seed=s, model=2), **DRAWS)
        for s in range(120)
    ]
    assert np.mean([f["accuracy"]["p_value"] < 0.05 for f in found]) <= 0.1
    assert np.mean([f["macro_f1"]["p_value"] < 0.05 for f in found]) <= 0.1


def test_models_of_other_rows_are_not_compared():
    with pytest.raises(DataError, match="same rows"):
        scoring.paired(made(seed=1), made(seed=2), **DRAWS)


def test_plain_figures_are_those_of_the_metrics():
    p = made()
    found, plain = scoring.metrics(p, **DRAWS), scoring.plain(p.actual, p.predicted)
    assert plain == {name: pytest.approx(found[name]["value"]) for name in ("accuracy", "macro_f1")}


def test_groups_are_numbered_in_the_order_of_their_first_rows():
    p = of([0, 1, 0, 1], [[0.5, 0.5]] * 4, groups=["z", "a", "z", "m"])
    assert p.group_numbers.tolist() == [0, 1, 0, 2]
    assert p.group_count == 3


def test_two_thousand_replicates_of_six_thousand_rows_take_about_a_second():
    p = made(6000, groups=4000)
    started = time.perf_counter()
    scoring.metrics(p, replicates=2000, seed=0)
    assert time.perf_counter() - started < 5  # measured: 0.2 to 0.4 s; a slow neighbour is forgiven


def test_many_models_at_once_get_the_figures_that_each_gets_alone():
    models = [made(300, groups=90, seed=2, model=m) for m in range(3)]
    together = scoring.decisions_each(models, **DRAWS)
    for p, found in zip(models, together, strict=True):
        alone = scoring.decisions(p, **DRAWS)
        for name, figure in found.items():
            assert figure.value == alone[name].value
            assert np.array_equal(figure.draws, alone[name].draws)
    assert scoring.minus(together[0], together[1])["accuracy"].interval() == (
        scoring.differences(models[0], models[1], **DRAWS)["accuracy"].interval()
    )
