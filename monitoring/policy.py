"""When findings become an alarm: a pure function of what the latest windows showed.

A finding is one window over a threshold; an alarm is what somebody is woken for. What becomes of it is in `ledger`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.monitor_settings import Alarm

Verdict = Mapping[str, Any]
"""What `watch.score` says of a window."""


def counted(verdict: Verdict, how: Alarm) -> list[str]:
    """The signals of a window that count: findings, on enough rows, with a large enough effect."""
    return [
        name
        for name, signal in verdict["signals"].items()
        if signal["finding"] and signal["rows"] >= how.minimum_rows and signal["effect"] >= how.minimum_effect
    ]


def alarm(history: Sequence[Verdict], how: Alarm) -> dict[str, Any] | None:
    """The alarm that the latest window raises, or None.

    Findings that count in `how.findings` of the latest `how.of` windows, the latest among them. What the sequential
    test says of accuracy is an alarm at once: it holds its rate over all looks together.

    Args:
        history: verdicts on windows of one model, the oldest first.

    Returns:
        JSON-able: `signals`, by name what the latest window showed, and `why`, a sentence.
    """
    if not history:
        return None
    latest = history[-1]
    shown = {name: dict(latest["signals"][name]) for name in counted(latest, how)}
    windows = sum(bool(counted(verdict, how)) for verdict in history[-how.of :])
    reasons = []
    if shown and windows >= how.findings:
        words = "; ".join(f"{name}: {signal['direction']}" for name, signal in shown.items())
        reasons.append(f"{windows} of the latest {min(how.of, len(history))} windows drifted ({words})")
    else:
        shown = {}
    accuracy = latest.get("accuracy")
    if accuracy and accuracy["finding"]:
        shown["accuracy"] = dict(accuracy)
        reasons.append(f"accuracy on the audit sample is below {accuracy['bound']:.3f}")
    return {"signals": shown, "why": "; ".join(reasons)} if reasons else None
