"""What the registry is told of a judged candidate: its run, made whole from the files, and its version."""

import csv
import hashlib
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegate import params, registry
from tidegate.files import digest_json, read_json
from tidegate.registry_state import DECISION


def record(root: Path, uri: str, decision: Mapping[str, Any], package: Path) -> int:
    """The version of the decision's candidate; it and its MLflow run are made where they are missing."""
    digest, data = digest_json(decision), root / "data"
    tags = {f"tidegate.{key}": decision[key] for key in ("verdict", "recipe")} | _revision(root)
    figures = flat(read_json(data / "evaluation.json")["models"]["candidate"], keep=(int, float))
    writer = registry.Registry(uri, decision["task"])
    run_id = writer.ensure_run(
        digest,
        name=f"{decision['verdict']} {decision['candidate'][:12]}",
        params=spelt(flat(_of_stages(params.load(root / "params.yaml")), keep=(str, int, float, bool))),
        metrics={key: float(value) for key, value in spelt(figures).items()},
        tags=tags,
        files=[data / "decision.json", *(data / name for name in decision["evidence"] if (data / name).is_file())],
        curves=curves(data / "curves.csv"),
    )
    tags |= {DECISION: digest}
    return writer.ensure_version(decision["candidate"], source=package, run_id=run_id, tags=tags)


def _of_stages(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Without the section `promote`: it shapes no model, and its address may hold a password."""
    return {name: section for name, section in sections.items() if name != "promote"}


def flat(content: Mapping[str, Any], *, keep: tuple[type, ...], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots; values of other kinds (lists, nulls) are left out."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            found |= flat(value, keep=keep, prefix=f"{prefix}{key}.")
        elif isinstance(value, keep) and (bool in keep or not isinstance(value, bool)):
            found[f"{prefix}{key}"] = value
    return found


def spelt(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same under names that MLflow takes: other characters, such as those of a label, become `_`."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        plain = re.sub(r"[^\w.\- :]", "_", name)[:240]
        if plain != name and (plain in content or plain in found):
            plain += f" {hashlib.sha256(name.encode()).hexdigest()[:8]}"
        found[plain] = value
    return found


def curves(path: Path) -> dict[str, list[tuple[int, float]]]:
    """By column of a CSV of curves its steps and values; empty cells are passed over."""
    found: dict[str, list[tuple[int, float]]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            for key, value in row.items():
                if key not in ("epoch", "step") and value:
                    found.setdefault(key, []).append((int(row["step"]), float(value)))
    return found


def _revision(root: Path) -> dict[str, str]:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False).stdout.strip()

    dirty = str(bool(git("status", "--porcelain"))).lower()
    return {"tidegate.revision": git("rev-parse", "--verify", "--quiet", "HEAD") or "none", "tidegate.dirty": dirty}
