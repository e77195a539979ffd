"""The append-only log of a task, in `var/`: what was judged, promoted, approved, rejected and rolled back.

It is the truth about what is in service: aliases keep no history and can be lost, this can be read again. Each line is
sealed: its seal is a digest of the line and of the seal before, so a line that was changed, or taken out from between
others, is found and named. What follows from the entries is in `standing`.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from tidegate.errors import RegistryError
from tidegate.files import append_line, digest_json, var_folder

Event = Literal["found", "judged", "promoted", "approved", "rejected", "rolled_back"]
Entry = dict[str, Any]


def append(task: str, event: Event, *, candidate: str, why: list[str], by: str | None = None, **more: Any) -> None:
    """Adds an entry, and does not return before it is on the disk.

    Args:
        by: who; the user that runs this process where nobody is named.
        more: what the event is about, by name; JSON.
    """
    entry = {"at": now(), "event": event, "candidate": candidate, "by": by or _user(), "why": why, **more}
    before = [known["seal"] for known in entries(task)][-1:]
    entry["seal"] = _seal(entry, before[0] if before else "")
    append_line(_path(task), entry)


def append_once(task: str, event: Event, *, decision: str, **more: Any) -> None:
    """Adds what a decision led to, by the digest of the decision; once, however often it is called."""
    if not any(entry["event"] == event and entry.get("decision") == decision for entry in entries(task)):
        append(task, event, decision=decision, **more)


def entries(task: str) -> Iterator[Entry]:
    """The entries of a task, the oldest first; a line torn by a kill is passed over.

    Raises:
        RegistryError: a line is not what was written, or one before it is missing; names it.
    """
    path, seal = _path(task), ""
    for number, line in enumerate(path.read_bytes().split(b"\n") if path.exists() else (), start=1):
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # torn; were it damaged, the next line's seal would not fit
        if not (isinstance(entry, dict) and {"event", "candidate"} <= set(entry)):
            continue
        if entry.get("seal") != _seal(entry, seal):
            cause = "was changed after it was written, or a line before it is missing"
            raise RegistryError(f"line {number} of {path}", cause, "Restore the file from a backup of var/")
        seal = entry["seal"]
        yield entry


def _seal(entry: Entry, before: str) -> str:
    return digest_json([before, {key: value for key, value in entry.items() if key != "seal"}])


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
