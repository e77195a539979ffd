"""Thresholds hold their rate over all signals together, whatever the documents; and drawing keeps documents whole."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from monitoring import gauge
from monitoring.calibration import Calibration, drawn, halves
from monitoring.reference import Reference
from tidegate.monitor_settings import Settings

LABELS = ("negative", "neutral", "positive")


def test_a_draw_is_made_of_whole_documents_and_reaches_the_size() -> None:
    groups = np.repeat(np.arange(40), np.arange(40) % 5 + 1)
    for seed in range(20):
        inside = drawn(groups, 30, np.random.default_rng(seed))
        assert 30 <= inside.sum() < 35
        assert not set(groups[inside]) & set(groups[~inside])


def test_a_document_lies_in_one_half() -> None:
    groups = np.repeat(np.arange(50), 3)
    half = halves(groups, np.random.default_rng(0))
    assert not set(groups[half]) & set(groups[~half])
    assert 0 < half.sum() < len(half)


@pytest.mark.parametrize("signals", [1, 3, 7])
def test_new_windows_are_findings_at_the_rate_and_no_more(signals: int) -> None:
    chance = np.random.default_rng(signals)
    shares = []
    for _ in range(20):
        known = Calibration(100, chance.normal(size=(1000, signals)), np.zeros(signals), 0.05)
        shares.append(np.mean([known.found(known.p_values(one)).any() for one in chance.normal(size=(500, signals))]))
    assert 0.035 < np.mean(shares) < 0.057


def test_signals_that_say_the_same_cost_no_power() -> None:
    one = np.random.default_rng(0).normal(size=(1000, 1))
    alone, sevenfold = (Calibration(100, np.repeat(one, k, axis=1), np.zeros(k), 0.05) for k in (1, 7))
    assert alone.level == sevenfold.level


def test_a_signal_that_never_moves_is_found_when_it_does_and_not_before() -> None:
    known = Calibration(100, np.zeros((1000, 1)), np.zeros(1), 0.05)
    assert not known.found(known.p_values(np.array([0.0]))).any()
    assert known.found(known.p_values(np.array([0.01]))).all()
    assert known.p_values(np.array([0.01]))[0] == pytest.approx(1 / 1001)


def test_the_threshold_is_where_findings_begin() -> None:
    known = Calibration(100, np.random.default_rng(3).normal(size=(400, 2)), np.zeros(2), 0.05)
    assert not known.found(known.p_values(known.thresholds)).any()
    assert known.found(known.p_values(known.thresholds + 1e-9)).all()


def test_undrifted_windows_of_documents_hold_the_rate(
    make_rows: Callable[..., pl.DataFrame], settings: Settings
) -> None:
    """Rows of a document are of one subject: taken row by row, windows would be findings several times as often."""
    ready = gauge.ready(Reference("m", LABELS, make_rows(4000, seed=5, together=10)), settings, keep=False)
    found = [
        any(s["finding"] for s in ready.compare(make_rows(200, seed=s, together=10)).values()) for s in range(50, 170)
    ]
    assert sum(found) <= 13  # 6 are due; more than 13 come in one of 300
