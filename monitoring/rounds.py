"""One round of watching a task: each window of its champion that is complete and nobody has looked at.

What trains is not called from here; which alarms wait for that stands in the ledger.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from monitoring import gauge, ledger, reference, watch, windows
from tidegate import monitor_settings
from tidegate.errors import RegistryError
from tidegate.files import var_folder
from tidegate.release import dossier, reconciling
from tidegate.release import settings as release_settings
from tidegate.serving import settings as serve_settings
from tidegate.serving.prediction_log import PredictionLog

if TYPE_CHECKING:
    from tidegate.release.standing import Standing


@dataclass(frozen=True, slots=True)
class Round:
    """What a round saw."""

    task: str
    model: str
    looks: tuple[watch.Look, ...]
    waiting: tuple[str, ...]
    """Alarms that are to start a retraining which nobody has begun."""


def run(root: Path, *, now: float | None = None) -> Round:
    """Looks at every complete window since the last round, follows the policy, and prints what it saw.

    Args:
        root: the clone.
        now: seconds since the epoch; this moment by default.

    Raises:
        RegistryError: the task has no champion, or what it was judged on is not kept.
    """
    now = time.time() if now is None else now
    task, how = release_settings.task_of(root), monitor_settings.read(root)
    standing = reconciling.standing_of(release_settings.read(root).uri(), task)
    model = standing.champion
    if model is None or model not in standing.decisions:
        cause = "has no champion that was promoted from here"
        raise RegistryError(f"task {task!r}", cause, "Run `make repro`: what is watched is compared with its test rows")
    with PredictionLog(task, serve_settings.read(root).log_uri) as log:
        looks = _looks(root, task, model, standing, log, how, now)
        for look in looks:
            print(told(look))
    if not looks:
        print(f"monitor: no window of {task} is complete that nobody has looked at")
    waiting = ledger.standing(ledger.entries(task), now, how.retrain).waiting
    return Round(task, model, tuple(looks), tuple(waiting))


def _looks(
    root: Path, task: str, model: str, standing: "Standing", log: PredictionLog, how: monitor_settings.Settings,
    now: float,
) -> list[watch.Look]:  # fmt: skip
    url = log.engine.url.render_as_string(hide_password=False)
    spans = windows.complete(url, model, how.window, now=now, after=watch.last_place(task, model))
    if not spans:
        return []
    known = gauge.ready(reference.of_champion(root, model, standing.decisions[model]), how)
    labels = new_labels(log, standing)
    return [
        watch.look(
            task, known, windows.read(url, model, first, last), how,
            audited=windows.audited(url, model, last=last), new_labels=labels,
        )
        for first, last in spans
    ]  # fmt: skip


def new_labels(log: PredictionLog, standing: "Standing") -> int:
    """Labelled rows in the log beyond those that the champion's data held."""
    import polars as pl
    import yaml

    known = 0
    decision = standing.decisions.get(standing.champion or "")
    inputs = dossier.folder_of(decision) / "inputs.yaml" if decision else None
    pins = yaml.safe_load(inputs.read_text(encoding="utf-8")) if inputs and inputs.exists() else {}
    if pins.get("feedback"):
        snapshot = var_folder() / "feedback" / f"{pins['feedback']}.parquet"
        known = pl.scan_parquet(snapshot).select(pl.len()).collect().item() if snapshot.exists() else 0
    return max(0, len(log.labelled()) - known)


def told(look: watch.Look) -> str:
    """A look, for a person."""
    verdict = look.verdict
    found = [name for name, signal in verdict["signals"].items() if signal["finding"]]
    words = f"window {verdict['first']:,} to {verdict['last']:,}: {', '.join(found) or 'no finding'}"
    if look.entry is None:
        return f"monitor: {words}"
    because = look.entry["because"]
    return f"monitor: {words}; alarm {look.entry['id']}, {f'no retraining: {because}' if because else 'retraining'}"
