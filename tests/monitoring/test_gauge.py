"""A gauge says the same of the same window, compares sizes that it knows, and keeps its thresholds."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from monitoring import calibration, gauge
from monitoring.gauge import Gauge
from monitoring.reference import Reference
from tidegate.errors import DataError
from tidegate.monitor_settings import Settings, Window

LABELS = ("negative", "neutral", "positive")
Rows = Callable[..., pl.DataFrame]


def test_the_same_window_shows_the_same(ready: Gauge, make_rows: Rows) -> None:
    rows = make_rows(200, seed=5)
    assert ready.compare(rows) == ready.compare(rows)


@pytest.mark.parametrize(("rows", "size"), [(50, 50), (99, 99), (137, 130), (200, 200), (5000, 200)])
def test_few_sizes_are_calibrated_and_none_is_larger_than_the_window(ready: Gauge, rows: int, size: int) -> None:
    assert ready.size(rows) == size


def test_a_reference_is_not_used_up_by_its_replays(make_rows: Rows, settings: Settings) -> None:
    large = replace(settings, window=Window(rows=10_000, hours=None))
    ready = gauge.ready(Reference("m", LABELS, make_rows(1000, seed=1)), large, keep=False)
    assert ready.size(10_000) <= len(ready.features) / 3


def test_of_a_long_window_whole_documents_are_compared(ready: Gauge, make_rows: Rows) -> None:
    shown = ready.compare(make_rows(1000, seed=5, together=10))
    assert 200 <= shown["text"]["rows"] < 210


def test_a_window_without_documents_is_compared_row_by_row(ready: Gauge, make_rows: Rows) -> None:
    rows = make_rows(200, seed=5).with_columns(document=pl.lit(None, dtype=pl.String))
    assert ready.compare(rows)["text"]["rows"] == 200


def test_a_tiny_window_is_refused(ready: Gauge, make_rows: Rows) -> None:
    with pytest.raises(DataError, match=r"49 rows.*50 are needed"):
        ready.compare(make_rows(49, seed=5))


def test_thresholds_are_computed_once_for_a_reference_and_a_size(
    make_rows: Rows, settings: Settings, var: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = Reference("m", LABELS, make_rows(1000, seed=1))
    first = gauge.ready(reference, settings).calibration(100)
    monkeypatch.setattr(gauge, "calibrate", lambda *_, **__: pytest.fail("computed again"))
    again = gauge.ready(reference, settings).calibration(100)
    assert (again.statistics == first.statistics).all()
    assert again.level == first.level
    assert isinstance(again, calibration.Calibration)
    with pytest.raises(pytest.fail.Exception, match="again"):
        gauge.ready(Reference("m", LABELS, make_rows(1000, seed=2)), settings).calibration(100)
    assert len(list((var / "monitoring" / "calibrations").iterdir())) == 1
