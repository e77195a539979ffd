"""One look at the service: a window is scored, kept, held against the policy, put into the ledger, and told.

Everything is in files below `var/monitoring/TASK`, whole or not at all; a window that was looked at stays as it was.
What trains is not called from here: the flow reads the ledger's decision.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitoring import accuracy, ledger, messages, policy
from monitoring.gauge import Gauge
from monitoring.windows import Window
from tidegate.files import read_json, var_folder, write_json
from tidegate.monitor_settings import Settings

if TYPE_CHECKING:
    import polars as pl

Verdict = dict[str, Any]


@dataclass(frozen=True)
class Look:
    """What became of a window: its verdict, and the ledger's entry where it raised an alarm."""

    verdict: Verdict
    entry: ledger.Entry | None


def score(gauge: Gauge, window: Window, settings: Settings, *, audited: "pl.DataFrame | None" = None) -> Verdict:
    """The verdict on a window, JSON-able; nothing is written.

    Args:
        audited: all audited predictions of the model up to the window's end; see `accuracy.watched`.

    Returns:
        `model`, `first`, `last`, `rows`, `from` and `until` (seconds since the epoch), `signals` (see
        `Gauge.compare`), `finding`, `accuracy` (null without labels), `reference`.
    """
    signals = gauge.compare(window.rows)
    known = gauge.reference.accuracy
    seen = None if audited is None else accuracy.watched(audited, settings.accuracy, reference=known)
    times = window.rows["at"]
    return {
        "model": window.model,
        "first": window.first,
        "last": window.last,
        "rows": len(window.rows),
        "from": float(times.min()),  # type: ignore[arg-type]
        "until": float(times.max()),  # type: ignore[arg-type]
        "signals": signals,
        "finding": any(signal["finding"] for signal in signals.values()),
        "accuracy": seen,
        "reference": {"digest": gauge.reference.digest, "rows": len(gauge.reference.rows), "accuracy": known},
    }


def look(
    task: str, gauge: Gauge, window: Window, settings: Settings, *, audited: "pl.DataFrame | None", new_labels: int,
) -> Look:  # fmt: skip
    """Scores a window that nobody has looked at, keeps the verdict, and follows the policy.

    Killed anywhere and called again, it ends in the same state: the verdict is kept first, an alarm has one entry in
    the ledger, and messages are sent until one has arrived.

    Args:
        new_labels: labelled rows that came in since the champion's data.
    """
    path = _path(task, window)
    if not path.exists():
        verdict = score(gauge, window, settings, audited=audited)
        write_json(path, verdict | {"evidently": _seen_by_evidently(task, gauge, window, path.stem, settings)})
    verdict = dict(read_json(path, "signals", "model"))
    known = [one for one in history(task, window.model) if one["last"] <= window.last]
    raised = policy.alarm(known, settings.alarm)
    if raised is None:
        return Look(verdict, None)
    span = {"first": window.first, "last": window.last}
    entry = ledger.record(
        task, raised, model=window.model, window=span, new_labels=new_labels, how=settings.retrain
    )  # fmt: skip
    tell(task, entry, settings)
    return Look(verdict, entry)


def tell(task: str, entry: Mapping[str, Any], settings: Settings) -> None:
    """Sends the message about an alarm, unless one has arrived; the ledger notes what became of it."""
    events = [one for one in ledger.entries(task) if one["id"] == entry["id"]]
    if any(one["event"] == "message" and one["sent"] for one in events):
        return
    title, body = messages.about(entry, task)
    for sent in messages.send(messages.addresses(settings.messages), title=title, body=body):
        ledger.note_message(task, entry["id"], to=sent.to, sent=sent.sent, why=sent.why)


def history(task: str, model: str) -> list[Verdict]:
    """All verdicts on windows of a model, the oldest first."""
    kept = sorted(_folder(task).glob("windows/*.json"))
    return [verdict for path in kept if (verdict := read_json(path, "model", "signals"))["model"] == model]


def last_place(task: str, model: str) -> int:
    """The last place in the log that a window of the model reached; 0 before the first."""
    return max((verdict["last"] for verdict in history(task, model)), default=0)


def page(task: str, gauge: Gauge, window: Window, settings: Settings) -> Path:
    """Writes Evidently's page of a window, some 4 MB; returns where."""
    from monitoring import report

    path = _path(task, window).with_suffix(".html")
    report.write_page(_snapshot(gauge, window, settings), path)
    return path


def _seen_by_evidently(task: str, gauge: Gauge, window: Window, name: str, settings: Settings) -> dict[str, Any]:
    """Its figures, which are an addition: where it fails, the verdict says so and stands without them."""
    from monitoring import report

    try:
        snapshot = _snapshot(gauge, window, settings)
        report.add_to_history(snapshot, _folder(task) / "evidently", task, name)
        return report.summary(snapshot)
    except Exception as error:  # whatever a large library raises
        return {"error": f"{type(error).__name__}: {error}"}


def _snapshot(gauge: Gauge, window: Window, settings: Settings) -> Any:
    from monitoring import report

    until = float(window.rows["at"].max())  # type: ignore[arg-type]
    return report.compared(gauge.reference.rows, window.rows, rate=settings.finding_rate, seconds=until)


def _folder(task: str) -> Path:
    return var_folder() / "monitoring" / task


def _path(task: str, window: Window) -> Path:
    return _folder(task) / "windows" / f"{window.first:012d}-{window.last:012d}-{window.model[:12]}.json"
