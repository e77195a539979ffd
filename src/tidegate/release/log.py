"""The append-only log of a task, in `var/`: what was judged, promoted, approved, rejected and rolled back.

It is the truth about what is in service: aliases keep no history and can be lost, this can be read again. What
follows from its entries is in `standing`.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from tidegate.files import append_line, read_lines, var_folder

Event = Literal["found", "judged", "promoted", "approved", "rejected", "rolled_back"]
Entry = dict[str, Any]


def append(task: str, event: Event, *, candidate: str, why: list[str], by: str | None = None, **more: Any) -> None:
    """Adds an entry, and does not return before it is on the disk.

    Args:
        by: who; the user that runs this process where nobody is named.
        more: what the event is about, by name; JSON.
    """
    entry = {"at": now(), "event": event, "candidate": candidate, "by": by or _user(), "why": why, **more}
    append_line(_path(task), entry)


def append_once(task: str, event: Event, *, decision: str, **more: Any) -> None:
    """Adds what a decision led to, by the digest of the decision; once, however often it is called."""
    if not any(entry["event"] == event and entry.get("decision") == decision for entry in entries(task)):
        append(task, event, decision=decision, **more)


def entries(task: str) -> Iterator[Entry]:
    """The entries of a task, the oldest first; what is no entry, such as a line torn by a kill, is passed over."""
    for entry in read_lines(_path(task)):
        if {"event", "candidate"} <= set(entry):
            yield entry


def now() -> str:
    """This second, in UTC, as entries have it; texts of this form sort by time."""
    return at(time.time())


def at(seconds: float) -> str:
    """A time since the epoch in that form."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _user() -> str:
    return os.environ.get("USER") or "unknown"


def _path(task: str) -> Path:
    return var_folder() / "promotions" / f"{task}.jsonl"
