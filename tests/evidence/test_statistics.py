"""Resampling by group, and the tests that rest on it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from tidegate.evidence import statistics
from tidegate.evidence.statistics import Resampled


def mean_of(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[..., 0] / sums[..., 1])


def resampled_mean(values: np.ndarray, groups: np.ndarray, *, replicates: int = 1000, seed: int = 0) -> Resampled:
    columns = np.stack([values.astype(float), np.ones(len(values))], axis=1)
    sums = statistics.sums_by_group(columns, groups, int(groups.max()) + 1)
    draws = mean_of(statistics.resampled_sums(sums, replicates=replicates, seed=seed))
    return Resampled(float(mean_of(sums.sum(axis=0))), draws, statistics.effective_groups(sums[:, 1]))


def correlated(chance: np.random.Generator, *, groups: int, size: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """0/1 values with mean `share`; rows of a group mostly agree."""
    numbers = np.repeat(np.arange(groups), size)
    common = chance.random(groups)[numbers]
    own = chance.random(len(numbers))
    return (np.where(chance.random(len(numbers)) < 0.7, common, own) < share).astype(float), numbers


def coverage(*, by_group: bool, groups: int, size: int, rounds: int = 300) -> float:
    chance, held = np.random.default_rng(5), 0
    for seed in range(rounds):
        values, numbers = correlated(chance, groups=groups, size=size, share=0.7)
        shown = numbers if by_group else np.arange(len(values))
        low, high = resampled_mean(values, shown, replicates=400, seed=seed).interval(0.95) or (2.0, 2.0)
        held += low <= 0.7 <= high
    return held / rounds


def test_intervals_by_group_cover_as_often_as_they_claim():
    assert 0.92 <= coverage(by_group=True, groups=60, size=5) <= 0.98


def test_intervals_that_ignore_groups_do_not_cover():
    assert coverage(by_group=False, groups=60, size=5) < 0.87


def test_intervals_of_few_groups_are_widened_enough():
    assert coverage(by_group=True, groups=10, size=5) >= 0.91


def test_the_error_is_that_of_theory_where_rows_are_independent():
    values = (np.random.default_rng(1).random(2000) < 0.3).astype(float)
    found = resampled_mean(values, np.arange(2000), replicates=4000)
    assert found.error == pytest.approx(np.std(values) / np.sqrt(2000), rel=0.05)


def test_p_values_agree_with_the_t_test_where_rows_are_independent():
    values = np.random.default_rng(2).normal(0.1, 1, 400)
    found = resampled_mean(values, np.arange(400), replicates=20_000)
    assert found.p_above(0) == pytest.approx(stats.ttest_1samp(values, 0, alternative="greater").pvalue, rel=0.25)
    assert found.p_differs(0) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=0.25)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_interval_and_p_value_tell_the_same(confidence: float):
    found = resampled_mean(np.random.default_rng(3).normal(size=50), np.arange(50), replicates=4000)
    low, high = found.interval(confidence) or (0, 0)
    assert found.p_above(low) == pytest.approx((1 - confidence) / 2, rel=0.2)
    assert found.p_below(high) == pytest.approx((1 - confidence) / 2, rel=0.2)


def test_few_groups_take_the_quantiles_of_t_and_not_of_the_normal():
    even = stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)
    found = Resampled(0.0, even, 8.0)
    _, high = found.interval(0.95) or (0, 0)
    assert high == pytest.approx(stats.t.ppf(0.975, 7) * np.sqrt(8 / 7), rel=1e-3)
    assert found.p_above(-high) == pytest.approx(0.025, rel=1e-2)


def test_one_group_says_nothing():
    found = resampled_mean(np.array([1.0, 0.0, 1.0]), np.zeros(3, dtype=int))
    assert found.interval() is None
    assert found.error is None
    assert found.p_differs() == 1.0


def test_equal_groups_count_in_full_and_unequal_ones_less():
    assert statistics.effective_groups(np.full(7, 3.0)) == pytest.approx(7)
    assert statistics.effective_groups(np.array([1000.0, 1, 1])) < 1.1
    assert statistics.effective_groups(np.zeros(3)) == 0


def test_the_draws_do_not_depend_on_the_size_of_a_block(monkeypatch: pytest.MonkeyPatch):
    sums = np.random.default_rng(0).random((50, 2))
    whole = statistics.resampled_sums(sums, replicates=100, seed=7)
    monkeypatch.setattr(statistics, "_CELLS", 170)
    assert np.allclose(whole, statistics.resampled_sums(sums, replicates=100, seed=7))


def test_every_replicate_draws_as_many_groups_as_there_are():
    assert (statistics.resampled_sums(np.ones((40, 1)), replicates=50, seed=0) == 40).all()


def test_clustered_mcnemar_of_single_rows_is_mcnemar():
    a = np.array([True] * 30 + [False] * 12 + [True] * 50)
    b = np.array([False] * 30 + [True] * 12 + [True] * 50)
    found = statistics.mcnemar(a, b, np.arange(92))
    assert (found["only_first_right"], found["only_second_right"]) == (30, 12)
    assert found["statistic"] == pytest.approx((30 - 12) ** 2 / (30 + 12))
    assert found["p_value"] == pytest.approx(stats.chi2.sf(324 / 42, 1))


def test_clustered_mcnemar_takes_copies_of_a_row_for_one():
    a, b = np.array([True] * 30 + [False] * 12), np.array([False] * 30 + [True] * 12)
    once = statistics.mcnemar(a, b, np.arange(42))
    copied = statistics.mcnemar(np.repeat(a, 5), np.repeat(b, 5), np.repeat(np.arange(42), 5))
    assert copied["statistic"] == pytest.approx(once["statistic"])


def test_clustered_mcnemar_holds_its_level_under_correlation():
    chance, found = np.random.default_rng(11), 0
    for _ in range(400):
        a, groups = correlated(chance, groups=80, size=6, share=0.7)
        b, _ = correlated(chance, groups=80, size=6, share=0.7)
        found += statistics.mcnemar(a > 0, b > 0, groups)["p_value"] < 0.05
    assert found / 400 <= 0.08


def test_models_that_agree_are_not_told_apart():
    assert statistics.mcnemar(np.ones(5, bool), np.ones(5, bool), np.arange(5))["p_value"] == 1.0


def test_holm_gives_the_textbook_figures():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_value_and_keeps_the_order(p_values: list[float]):
    adjusted = statistics.holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    assert [adjusted[i] for i in np.argsort(p_values, kind="stable")] == sorted(adjusted)


def test_exact_share_is_clopper_and_pearsons():
    low, high = statistics.exact_share(1.0, 20, confidence=0.95)
    assert (low, high) == (pytest.approx(stats.binomtest(20, 20).proportion_ci(0.95).low), 1.0)
    low, high = statistics.exact_share(0.0, 20, confidence=0.95)
    assert (low, high) == (0.0, pytest.approx(stats.binomtest(0, 20).proportion_ci(0.95).high))


def test_the_further_rows_asked_for_do_decide():
    """Simulated: with the rows asked for, a test decides as often as its power says."""
    chance, shift, alpha, power, rows = np.random.default_rng(4), 0.05, 0.025, 0.8, 400
    width = 2 * stats.norm.ppf(1 - alpha) / np.sqrt(rows)
    more = statistics.rows_to_decide(rows=rows, width=width, distance=shift, alpha=alpha, power=power)
    assert more is not None
    n = rows + more
    decided = [chance.normal(shift, 1, n).mean() * np.sqrt(n) > stats.norm.ppf(1 - alpha) for _ in range(500)]
    assert np.mean(decided) == pytest.approx(power, abs=0.06)


def test_no_number_of_rows_decides_a_figure_on_its_bound():
    assert statistics.rows_to_decide(rows=10, width=0.1, distance=0.0, alpha=0.05, power=0.8) is None


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 200))
def test_sums_by_group_add_up(groups: int, rows: int):
    chance = np.random.default_rng(groups * 1000 + rows)
    columns, numbers = chance.random((rows, 3)), chance.integers(0, groups, rows)
    sums = statistics.sums_by_group(columns, numbers, groups)
    assert np.allclose(sums.sum(axis=0), columns.sum(axis=0))
    assert np.allclose(sums[numbers[0]], columns[numbers == numbers[0]].sum(axis=0))


@pytest.mark.parametrize(("only_a", "only_b"), [(30, 12), (5, 9), (1, 0), (200, 200)])
def test_mcnemar_of_single_rows_is_that_of_statsmodels(only_a: int, only_b: int):
    a = np.array([True] * only_a + [False] * only_b + [True] * 40 + [False] * 7)
    b = np.array([False] * only_a + [True] * only_b + [True] * 40 + [False] * 7)
    found = statistics.mcnemar(a, b, np.arange(len(a)))
    other = mcnemar([[40, only_a], [only_b, 7]], exact=False, correction=False)
    assert (found["statistic"], found["p_value"]) == pytest.approx((other.statistic, other.pvalue))


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_holm_is_that_of_statsmodels(count: int):
    p_values = (np.random.default_rng(count).random(count) ** 3).tolist()
    assert statistics.holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_the_error_by_group_is_the_sandwich_of_statsmodels():
    """The mean as a regression on a constant, with standard errors robust to clusters; groups of unequal size."""
    chance = np.random.default_rng(8)
    sizes = chance.integers(1, 12, 300)
    numbers = np.repeat(np.arange(300), sizes)
    values = chance.normal(size=300)[numbers] + chance.normal(size=len(numbers))
    robust = OLS(values, np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": numbers, "use_correction": False}
    )
    found = resampled_mean(values, numbers, replicates=6000)
    assert found.error == pytest.approx(float(robust.bse[0]), rel=0.04)
    low, high = found.interval(0.95) or (0, 0)
    by_row = resampled_mean(values, np.arange(len(values)), replicates=6000).error or 0
    assert by_row < 0.6 * float(robust.bse[0])  # what a row-wise test would claim
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.02)


def test_the_p_value_of_a_mean_by_group_is_that_of_statsmodels():
    chance = np.random.default_rng(8)
    numbers = np.repeat(np.arange(40), 6)
    values = 0.4 * chance.normal(size=40)[numbers] + chance.normal(size=240)
    robust = OLS(values - 0.3, np.ones(240)).fit(
        cov_type="cluster", cov_kwds={"groups": numbers, "use_correction": False}, use_t=True
    )
    error = float(robust.bse[0]) * np.sqrt(40 / 39)
    expected = stats.t.cdf((values.mean() - 0.3) / error, 39)
    sums, sizes = np.bincount(numbers, weights=values), np.bincount(numbers).astype(float)
    assert statistics.p_mean_below(sums, sizes, 0.3) == pytest.approx(float(expected), rel=1e-9)
    assert statistics.p_mean_below(sums, sizes, -0.3) == pytest.approx(
        1 - float(stats.t.cdf((-0.3 - values.mean()) / error, 39)), rel=1e-9
    )


def test_the_p_value_of_a_mean_has_no_floor_and_says_nothing_of_one_group():
    ones = np.ones(60)
    assert statistics.p_mean_below(-ones * np.linspace(0.8, 1, 60), ones, 0.0) < 1e-30
    assert statistics.p_mean_below(-ones, ones, 0.0) == pytest.approx(0.5**60)
    assert statistics.p_mean_below(-ones[:2], ones[:2], 0.0) == pytest.approx(0.25)  # two documents prove nothing
    assert statistics.p_mean_below(0 * ones, ones, 0.0) == 1.0
    assert statistics.p_mean_below(-ones[:1], ones[:1], 0.0) == 1.0


@pytest.mark.parametrize(("value", "trials"), [(0.0, 20), (1.0, 20), (0.0, 1), (1.0, 500)])
def test_exact_share_is_that_of_statsmodels(value: float, trials: int):
    other = proportion_confint(int(value * trials), trials, alpha=0.05, method="beta")
    assert statistics.exact_share(value, trials, confidence=0.95) == pytest.approx(other)
