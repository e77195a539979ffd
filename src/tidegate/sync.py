"""Brings the world in: pins in `inputs.yaml` what the pipeline is to be compared with. Edits pins, nothing else."""

import re
from collections.abc import Mapping
from pathlib import Path

from tidegate import files, params
from tidegate.errors import ParamsError
from tidegate.files import read_json, replacing
from tidegate.release import settings
from tidegate.release.reconciling import standing_of
from tidegate.serving import settings as serving


def sync(root: Path) -> bool:
    """Pins the champion and the best ever of the task as its log has them now, and the true labels that came back.

    Without new labels it holds still while the champion is the candidate of the current decision and nothing is
    stale: else the gate would judge a model against itself and overwrite its evidence.

    Returns:
        Whether a pin moved.
    """
    task = settings.task_of(root)
    standing = standing_of(settings.read(root).uri(), task)
    pins = _read(root / "inputs.yaml")
    world = {"champion": standing.champion, "best": standing.best}
    moved = {key: digest for key, digest in world.items() if pins.get(key) != digest}
    labels = _new_labels(root, task, pins.get("feedback"))
    if not labels and (not moved or _holds(root, world["champion"])):
        print(f"sync: no pin moved (champion of {task}: {_short(pins.get('champion'))})")
        return False
    moved |= labels
    _write(root / "inputs.yaml", moved)
    for key, digest in moved.items():
        print(f"sync: {key} of {task} is now {_short(digest)} (was {_short(pins.get(key))})")
    return True


def _new_labels(root: Path, task: str, pinned: str | None) -> dict[str, str | None]:
    """The pin of a snapshot that has labels which the pinned one has not; empty where nothing came back since."""
    section = params.load(root / "params.yaml").get("serve")  # a checkout from before there was a service has none
    if section is None:
        return {}
    uri = serving.read(root).log_uri
    if uri is None and not (files.var_folder() / "predictions" / f"{task}.db").exists():
        return {}
    from tidegate.serving.labels import snapshot
    from tidegate.serving.prediction_log import PredictionLog

    with PredictionLog(task, uri) as log:
        found = snapshot(log, pinned)
    return {} if found in (None, pinned) else {"feedback": found}


def _read(path: Path) -> dict[str, str | None]:
    pins = params.load(path)
    known = {key: pins[key] for key in ("champion", "best") if pins.get(key) is not None}
    wrong = [key for key, pin in known.items() if not re.fullmatch("[0-9a-f]{64}", str(pin))]
    if wrong:
        remedy = f"Restore it (`git checkout {path.name}`), or write null, and run again"
        raise ParamsError(path.name, [f"{key}: must be null or a digest, is {pins[key]!r}" for key in wrong], remedy)
    return pins


def _holds(root: Path, champion: str | None) -> bool:
    from tidegate.reproduction import stale

    decision = root / "data" / "decision.json"
    if champion is None or not decision.exists():
        return False
    return bool(read_json(decision, "candidate")["candidate"] == champion) and not stale(root)


def _write(path: Path, moved: Mapping[str, str | None]) -> None:
    """Replaces the values in their lines, so that comments and order stay; keys that are not there come last."""
    text = path.read_text(encoding="utf-8")
    for key, value in moved.items():
        line = f"{key}: {value or 'null'}"
        text, count = re.subn(rf"^{key}:[^#\n]*?(?=[ \t]*(#.*)?$)", line, text, flags=re.MULTILINE)
        text = text if count else f"{text.rstrip()}\n{line}\n"
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "none"
