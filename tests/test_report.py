"""The result of a run as text."""

import subprocess
import sys
from typing import Any

from tidegate import report


def metric(value: float, **more: Any) -> dict[str, Any]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01, **more}


def model(accuracy: float, **more: Any) -> dict[str, Any]:
    figures = ("macro_f1", "log_loss", "expected_calibration_error", "roc_auc")
    return {"accuracy": metric(accuracy), **{name: metric(0.5) for name in figures}, **more}


EVALUATION = {
    "rows": 6012,
    "groups": 3104,
    "models": {
        "candidate": model(0.761, latency={"single_ms": {"p50": 4.0, "p95": 5.44}}, bytes=91_600_000),
        "baseline": model(0.632),
    },
    "same_as": {"teacher": "candidate"},
    "paired": {"baseline": {"accuracy": metric(0.129, p_value=0.0005), "macro_f1": metric(0.1, p_value=0.2)}},
}
RULE = {"name": "floor_accuracy", "verdict": "pass", "figure": 0.761, "bound": 0.6, "low": 0.75, "high": 0.77}
DECISION = {
    "candidate": "c" * 64, "champion": None, "mode": "replace", "verdict": "undecided", "reasons": ["best: too close."],
    "rules": [
        RULE | {"n": 6012, "unit": "accuracy"},
        {"name": "champion", "verdict": "pass", "figure": None, "bound": None, "low": None, "high": None, "n": None,
         "unit": ""},
    ],
}  # fmt: skip


def test_the_table_holds_figures_intervals_units_and_n():
    text = report.result_table(EVALUATION, DECISION)
    for shown in (
        "6,012 rows in 3,104 groups", "candidate = teacher", "0.761 (0.751 to 0.771)", "5.4 ms", "91.6 MB",
        "+0.129 (+0.119 to +0.139), p < 0.001", "p = 0.200", "UNDECIDED", "best: too close.", "champion none",
    ):  # fmt: skip
        assert shown in text


def test_columns_are_aligned():
    lines = report.aligned([["a", "bb"], ["long", "c"]]).splitlines()
    assert lines == ["a     bb", "----  --", "long  c"]


def test_a_figure_without_interval_or_value_is_shown_as_such():
    assert report.interval({"value": 0.5, "low": None, "high": None}) == "0.500"
    assert report.interval({"value": None, "low": None, "high": None}) == "-"


def test_it_loads_nothing_heavy():
    code = (
        "import sys, tidegate.report; print([m for m in ('numpy', 'scipy', 'polars', 'sklearn') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
