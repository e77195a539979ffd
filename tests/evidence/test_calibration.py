"""The temperature: known where the data is made for it, without effect on labels, and never absurd."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.evidence import calibration


def drawn(temperature: float, *, rows: int = 20_000, seed: int = 0):
    """Logits, and labels drawn from softmax(logits / temperature)."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=3, size=(rows, 3))
    chances = calibration.probabilities(logits, temperature).cumsum(axis=1)
    return logits, (random.random((rows, 1)) > chances).sum(axis=1)


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_the_temperature_that_the_labels_were_drawn_with_is_found(true):
    assert calibration.temperature(*drawn(true)) == pytest.approx(true, rel=0.05)


def test_no_other_temperature_loses_less():
    logits, labels = drawn(1.7, rows=500)
    found = calibration.temperature(logits, labels)
    least = calibration.log_loss(logits, labels, found)
    assert all(calibration.log_loss(logits, labels, found * factor) > least for factor in (0.5, 0.9, 1.1, 2))


@pytest.mark.parametrize("rows", [1, 50])
def test_labels_that_are_all_right_do_not_give_a_temperature_of_zero(rows):
    logits, labels = np.tile([5.0, 0.0], (rows, 1)), np.zeros(rows, dtype=np.int64)
    found = calibration.temperature(logits, labels)
    assert calibration.BOUNDS[0] <= found < 1
    assert np.isfinite(calibration.probabilities(logits, found)).all()


def test_labels_that_are_all_wrong_do_not_give_an_infinite_one():
    logits, labels = np.tile([5.0, 0.0], (50, 1)), np.ones(50, dtype=np.int64)
    assert 1 < calibration.temperature(logits, labels) <= calibration.BOUNDS[1]


def test_without_rows_it_is_one():
    assert calibration.temperature(np.empty((0, 3)), np.empty(0, dtype=np.int64)) == 1


def test_labels_that_the_model_does_not_know_say_nothing():
    logits, labels = drawn(1.5, rows=1000)
    wider = np.hstack([logits, np.full((len(logits), 1), -np.inf)])
    wider = np.vstack([wider, [[9.0, 0.0, 0.0, -np.inf]]])
    assert calibration.temperature(wider, np.append(labels, 3)) == pytest.approx(
        calibration.temperature(logits, labels), rel=1e-6
    )


@given(st.floats(0.01, 100), st.integers(0, 5))
def test_no_label_changes_by_it(temperature, seed):
    logits, _ = drawn(1.0, rows=50, seed=seed)
    found = calibration.probabilities(logits, temperature)
    np.testing.assert_array_equal(found.argmax(axis=1), logits.argmax(axis=1))
    np.testing.assert_allclose(found.sum(axis=1), 1)
