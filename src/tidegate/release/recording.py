"""What the registry is told of a judged candidate: its run, made whole from the dossier, and its version."""

import csv
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegate import params, registry
from tidegate.files import digest_json, read_json
from tidegate.registry_state import DECISION


def record(uri: str, decision: Mapping[str, Any], folder: Path, package: Path) -> int:
    """The version of the decision's candidate; it and its MLflow run are made where they are missing.

    Args:
        folder: the dossier of the decision.
        package: the candidate, in the package store.
    """
    digest = digest_json(decision)
    tags = {f"tidegate.{key}": decision[key] for key in ("verdict", "recipe")}
    tags |= {f"tidegate.{key}": value for key, value in read_json(folder / "made.json").items()}
    figures = flat(read_json(folder / "evaluation.json")["models"]["candidate"], keep=(int, float))
    writer = registry.Registry(uri, decision["task"])
    run_id = writer.ensure_run(
        digest,
        name=f"{decision['verdict']} {decision['candidate'][:12]}",
        params=spelt(flat(params.load(folder / "params.yaml"), keep=(str, int, float, bool))),
        metrics={key: float(value) for key, value in spelt(figures).items()},
        tags=tags,
        files=[path for path in sorted(folder.iterdir()) if path.is_file()],
        curves=curves(folder / "curves.csv"),
    )
    tags |= {DECISION: digest}
    reasons = "\n".join(f"- {reason}" for reason in decision["reasons"])
    about = f"**{decision['verdict']}**\n\n{reasons}\n\nThe model card is `card.md` of the run that it comes from."
    return writer.ensure_version(
        decision["candidate"], source=package, run_id=run_id, tags=tags, description=about
    )  # fmt: skip


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
