"""The append-only log of promotions of a task, in `var/`: aliases keep no history, this does."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tidegate.files import digest_json, var_folder


def append(decision: Mapping[str, Any], version: int) -> None:
    """Adds the promotion that a decision led to; once, however often it is called."""
    if holds(decision):
        return
    entry = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "candidate": decision["candidate"],
        "previous": decision["champion"],
        "version": version,
        "decision": digest_json(decision),
        "by": os.environ.get("USER") or "unknown",
        "why": decision["reasons"],
    }
    path = _path(decision["task"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as stream:
        stream.seek(0)
        content = stream.read()
        torn = b"\n" if content and not content.endswith(b"\n") else b""  # a kill in the middle of a line
        stream.write(torn + json.dumps(entry, sort_keys=True, ensure_ascii=False).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def holds(decision: Mapping[str, Any]) -> bool:
    """Whether the promotion of this very decision is in the log."""
    digest = digest_json(decision)
    return any(entry["decision"] == digest for entry in entries(decision["task"]))


def entries(task: str) -> Iterator[dict[str, Any]]:
    """The promotions of a task, the oldest first; what is no entry, such as a line torn by a kill, is passed over."""
    path = _path(task)
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "decision" in entry:
            yield entry


def _path(task: str) -> Path:
    return var_folder() / "promotions" / f"{task}.jsonl"
