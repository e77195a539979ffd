"""A table of histories and what they raise."""

from typing import Any

import pytest

from monitoring.policy import alarm
from tidegate.monitor_settings import Alarm

HOW = Alarm(findings=2, of=3, minimum_rows=200, minimum_effect=0.05)


def verdict(*, finding: bool = False, rows: int = 500, effect: float = 0.2, accuracy: bool | None = None) -> Any:
    signal = {"finding": finding, "rows": rows, "effect": effect, "direction": "longer"}
    seen = None if accuracy is None else {"finding": accuracy, "bound": 0.7}
    return {"signals": {"length": signal, "text": signal | {"finding": False}}, "accuracy": seen}


YES, NO = verdict(finding=True), verdict()
TABLE = [
    ("nothing was looked at", [], None),
    ("one finding", [YES], None),
    ("two of two", [YES, YES], {"length"}),
    ("two of three", [YES, NO, YES], {"length"}),
    ("the second one is too long ago", [YES, NO, NO, YES], None),
    ("the latest shows nothing", [YES, YES, NO], None),
    ("it goes on", [YES, YES, YES, YES], {"length"}),
    ("a small window counts for nothing", [YES, verdict(finding=True, rows=199)], None),
    ("a small window before counts for nothing", [verdict(finding=True, rows=199), YES], None),
    ("a small effect counts for nothing", [YES, verdict(finding=True, effect=0.04)], None),
    ("accuracy is an alarm at once", [verdict(accuracy=True)], {"accuracy"}),
    ("accuracy that is well", [verdict(accuracy=False)], None),
    ("one finding and accuracy", [verdict(finding=True, accuracy=True)], {"accuracy"}),
    ("both", [YES, verdict(finding=True, accuracy=True)], {"length", "accuracy"}),
]


@pytest.mark.parametrize(("history", "raised"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_what_a_history_raises(history: list[Any], raised: set[str] | None) -> None:
    found = alarm(history, HOW)
    assert (set(found["signals"]) if found else None) == raised


def test_an_alarm_says_how_many_windows_and_which_way() -> None:
    found = alarm([NO, YES, YES], HOW)
    assert found is not None
    assert found["why"] == "2 of the latest 3 windows drifted (length: longer)"


def test_one_of_one_is_every_finding() -> None:
    how = Alarm(findings=1, of=1, minimum_rows=1, minimum_effect=0.0)
    assert alarm([NO, YES], how)
    assert not alarm([YES, NO], how)
