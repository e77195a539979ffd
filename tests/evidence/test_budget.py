"""How many decisions a test set supports."""

import numpy as np
import pytest
from scipy import stats

from tidegate.evidence import budget, judgement
from tidegate.evidence.rules import Test
from tidegate.evidence.scoring import Predictions

TEST = Test(alpha=0.025, power=0.8, replicates=1000, seed=0)


def exponent(rows: float, p: float, tolerance: float) -> float:
    """Bennett's inequality as ease.ml/ci has it (its b of 1): the logarithm of one over the chance of an excess."""
    u = tolerance / p
    return float(rows * p * ((1 + u) * np.log(1 + u) - u))


@pytest.mark.parametrize(("rows", "p", "tolerance"), [(6769, 0.1, 0.02), (20_000, 0.15, 0.02), (50_000, 0.05, 0.01)])
def test_the_number_is_that_of_the_paper_but_for_its_rounding(rows: int, p: float, tolerance: float):
    found = budget.supports(rows=rows, discordant=p, tolerance=tolerance, alpha=0.025)
    paper = (exponent(rows, p, tolerance) + np.log(2 * 0.025)) / np.log(3)  # 3 ** H / 2 candidates share alpha
    assert paper * 0.95 - 1.5 <= found <= paper + 0.5


def test_the_bound_holds_for_the_worst_case_of_its_variance():
    """The chance that a mean of n differences -1, 0, 1 exceeds its own by the tolerance, exactly, at H = 1."""
    rows, p, tolerance = 4000, 0.1, 0.02
    ups = stats.binom.pmf(np.arange(rows + 1), rows, p)
    excess = stats.binom.sf((np.arange(rows + 1) + tolerance * rows) / 2, np.arange(rows + 1), 0.5)
    assert float((ups * excess).sum()) <= np.exp(-exponent(rows, p, tolerance))


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ({"rows": 20_000}, {"rows": 10_000}),
        ({"discordant": 0.05}, {"discordant": 0.1}),
        ({"tolerance": 0.03}, {"tolerance": 0.02}),
        ({"alpha": 0.2}, {"alpha": 0.001}),
    ],
)
def test_more_rows_closer_models_wider_tolerances_support_more(more: dict[str, float], less: dict[str, float]):
    usual = {"rows": 10_000, "discordant": 0.1, "tolerance": 0.02, "alpha": 0.025}
    assert budget.supports(**(usual | more)) > budget.supports(**(usual | less))


@pytest.mark.parametrize(
    ("rows", "discordant", "tolerance"), [(10, 0.5, 0.01), (10_000, 0.1, 0.0), (1, 1.0, 0.9), (0, 0.0, 0.1)]
)
def test_the_first_decision_is_always_supported(rows: int, discordant: float, tolerance: float):
    assert budget.supports(rows=rows, discordant=discordant, tolerance=tolerance, alpha=0.025) == 1


def test_models_that_never_differ_do_not_support_without_end():
    assert budget.supports(rows=1000, discordant=0.0, tolerance=0.02, alpha=0.025) < 200


def test_copies_of_a_row_count_once():
    difference, groups = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 500), np.arange(500)
    assert budget.design_effect(difference, groups) == pytest.approx(1.0)
    assert budget.design_effect(np.repeat(difference, 6), np.repeat(groups, 6)) == pytest.approx(6.0)
    assert budget.design_effect(np.zeros(10), np.arange(10)) == 1.0


def test_groups_that_err_together_leave_fewer_decisions():
    chance = np.random.default_rng(1)
    actual = np.zeros(4000, dtype=np.int64)

    def model(wrong: np.ndarray, size: int) -> Predictions:
        number = np.arange(4000) // size
        return Predictions(
            np.arange(4000).astype(str), number.astype(str), ("x", "y"), actual, np.eye(2)[wrong[number].astype(int)]
        )

    def counted(size: int) -> budget.Budget:
        a, b = (model(chance.random(4000) < 0.05, size) for _ in range(2))
        return judgement.budget(a, b, against="teacher", tolerance=0.05, test=TEST)

    alone, together = counted(1), counted(8)
    assert together.design_effect > 4
    assert together.supports < alone.supports
    assert alone.discordant > 0.09
    assert set(alone.as_json()) >= {"supports", "against", "discordant", "design_effect", "tolerance", "alpha"}
