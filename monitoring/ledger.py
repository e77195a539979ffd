"""The ledger of a task's alarms, `var/alarms/TASK.jsonl`: what was found, what was decided, and what became of it.

It is only ever added to, under a lock, and an alarm stands in it before anybody is told. What follows from its entries
is pure (`standing`); drift is not computed here, and nothing is trained.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tidegate.errors import DataError
from tidegate.files import append_line, digest_json, read_lines, var_folder
from tidegate.monitor_settings import Retrain

Entry = dict[str, Any]
Outcome = Literal["promoted", "not_promoted", "failed"]
_HOUR = 3600.0


@dataclass(slots=True)
class Standing:
    """What follows from a ledger at some moment. Alarms are named by their ids; times are seconds since the epoch."""

    alarms: dict[str, Entry] = field(default_factory=dict)
    """All of them, the oldest first."""
    outcomes: dict[str, str] = field(default_factory=dict)
    """By alarm that started a retraining what became of it; `failed` too where nobody closed it in time."""
    running: str | None = None
    """The alarm whose retraining is not over."""
    free_at: float = 0.0
    """When the cooldown after the last retraining is over."""
    waiting: list[str] = field(default_factory=list)
    """Alarms that are to start a retraining which nobody has begun; what a sweep picks up."""
    untold: list[str] = field(default_factory=list)
    """Alarms of which no message has arrived anywhere."""


def standing(entries: Iterable[Entry], now: float, how: Retrain) -> Standing:
    """Where a task stands. Pure.

    Args:
        entries: of the ledger, the oldest first.
        now: seconds since the epoch.
    """
    found, ends, begun, told = Standing(), dict[str, float](), dict[str, float](), set[str]()
    for entry in entries:
        match entry["event"]:
            case "alarm":
                found.alarms[entry["id"]] = entry
            case "started":
                begun.setdefault(entry["id"], entry["time"])
            case "closed":
                found.outcomes.setdefault(entry["id"], entry["outcome"])
                ends.setdefault(entry["id"], entry["time"])
            case "message" if entry["sent"]:
                told.add(entry["id"])
    for name, entry in found.alarms.items():
        if name not in told:
            found.untold.append(name)
        if entry["decision"] == "retrain":
            _follow(found, name, entry["time"], ends=ends, begun=begun, now=now, how=how)
    return found


def _follow(
    found: Standing, name: str, decided: float, *, ends: Mapping[str, float], begun: Mapping[str, float], now: float,
    how: Retrain,
) -> None:  # fmt: skip
    """What became of the retraining that an alarm was to start."""
    deadline = begun.get(name, decided) + how.longest_hours * _HOUR
    if name not in ends and now < deadline:
        found.running = name
        if name not in begun:
            found.waiting.append(name)
        return
    found.outcomes.setdefault(name, "failed")
    found.free_at = max(found.free_at, ends.get(name, deadline) + how.cooldown_hours * _HOUR)


def refusal(now: float, known: Standing, *, new_labels: int, how: Retrain) -> str | None:
    """Why an alarm may start no retraining; None where it may."""
    if known.running:
        return f"the retraining of alarm {known.running} runs"
    if now < known.free_at:
        return f"the last retraining cools down for {(known.free_at - now) / _HOUR:.1f} hours more"
    if new_labels < how.minimum_new_labels:
        return f"there are {new_labels} new labelled rows, and {how.minimum_new_labels} are asked for"
    return None


def record(
    task: str, alarm: Mapping[str, Any], *, model: str, window: Mapping[str, int], new_labels: int, how: Retrain,
    now: float | None = None,
) -> Entry:  # fmt: skip
    """Puts an alarm into the ledger with the decision about it; returns when that is on the disk.

    The same alarm (task, model, window, signals) twice is one entry: the second time it is given back as it was.

    Args:
        alarm: `signals`, its evidence by name, and `why`; see `policy.alarm`.
        window: `first` and `last`, the places of its rows in the prediction log.
        new_labels: labelled rows that came in since the champion's data.
        now: seconds since the epoch; this moment by default.

    Returns:
        The entry; `decision` is `retrain` or `refused`, and `because` says why it was refused.
    """
    now = time.time() if now is None else now
    name = digest_json([task, model, dict(window), sorted(alarm["signals"])])[:12]
    with _locked(task):
        known = standing(entries(task), now, how)
        if name in known.alarms:
            return known.alarms[name]
        because = refusal(now, known, new_labels=new_labels, how=how)
        entry: Entry = {
            "event": "alarm", "id": name, "time": now, "at": _shown(now), "model": model, "window": dict(window),
            "signal": sorted(alarm["signals"]), "evidence": dict(alarm["signals"]), "why": alarm["why"],
            "decision": "refused" if because else "retrain", "because": because, "new_labels": new_labels,
            "cooldown_until": _shown(known.free_at) if known.free_at else None,
        }  # fmt: skip
        append_line(_path(task), entry)
    return entry


def start(task: str, name: str, *, by: str, how: Retrain, now: float | None = None) -> bool:
    """Claims the retraining of an alarm; False where somebody has, or where there is nothing to begin (any more).

    Args:
        by: who runs it: a flow run, a process.
    """
    now = time.time() if now is None else now
    with _locked(task):
        if name not in standing(entries(task), now, how).waiting:
            return False
        append_line(_path(task), {"event": "started", "id": name, "time": now, "at": _shown(now), "by": by})
    return True


def close(task: str, name: str, outcome: Outcome, *, why: str, now: float | None = None, **more: Any) -> None:
    """Notes what became of the retraining of an alarm; what was closed stays as it was.

    Args:
        more: what else is known, by name, such as the digest of the new candidate; JSON.

    Raises:
        DataError: the ledger holds no such alarm, or it started no retraining.
    """
    now = time.time() if now is None else now
    with _locked(task):
        events = list(entries(task))
        if not any(e["event"] == "alarm" and e["id"] == name and e["decision"] == "retrain" for e in events):
            cause = f"holds no alarm {name} that was to start a retraining"
            raise DataError(str(_path(task)), cause, "Look there for its id")
        if not any(e["event"] == "closed" and e["id"] == name for e in events):
            entry = {"event": "closed", "id": name, "time": now, "at": _shown(now), "outcome": outcome, "why": why}
            append_line(_path(task), {**more, **entry})


def note_message(task: str, name: str, *, to: str, sent: bool, why: str) -> None:
    """Notes whether a message about an alarm went out, and to whom, without the secret part of the address."""
    now = time.time()
    with _locked(task):
        entry = {"event": "message", "id": name, "time": now, "at": _shown(now), "to": to, "sent": sent, "why": why}
        append_line(_path(task), entry)


def entries(task: str) -> Iterator[Entry]:
    """The entries of a task, the oldest first."""
    return (entry for entry in read_lines(_path(task)) if {"event", "id", "time"} <= set(entry))


@contextmanager
def _locked(task: str) -> Iterator[None]:
    from filelock import FileLock

    path = _path(task).with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):  # it goes with its process, so waiting for it ends
        yield


def _path(task: str) -> Path:
    return var_folder() / "alarms" / f"{task}.jsonl"


def _shown(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def by_this_process() -> str:
    """How a process names itself in the ledger."""
    return f"process {os.getpid()}"
