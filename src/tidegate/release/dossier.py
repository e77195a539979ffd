"""All that a decision rests on, kept by its digest in `var/`: whatever becomes of the checkout, it can be read again.

A dossier is written whole or not at all and never changed.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tidegate import params
from tidegate.errors import PackageError, RegistryError
from tidegate.files import digest_folder, digest_json, read_json, replacing, sha256, var_folder, write_json

_FIGURES = ("*.json", "*.csv", "*.svg")
"""Files of `data/` that people look at: no evidence of the gate, and yet worth keeping."""
_SECRET = ("promote", "serve")
"""Sections of `params.yaml` that shape no model, and whose addresses may hold a password."""
_PIPELINE = ("dvc.yaml", "dvc.lock", "inputs.yaml")


def folder_of(decision: str) -> Path:
    """Where the dossier of a decision lies, or would lie."""
    return var_folder() / "decisions" / decision


def keep(root: Path, decision: Mapping[str, Any], made: Mapping[str, str], pages: Mapping[str, str]) -> Path:
    """Copies what a decision rests on from a checkout; returns where it lies.

    Args:
        made: what is known of the tree that it comes from; `trees.keep` says it.
        pages: further texts by the name of their file, such as the model card.

    Raises:
        PackageError: a file is not the one that the gate judged.
    """
    target = folder_of(digest_json(decision))
    if target.exists():
        return target
    with replacing(target) as draft:
        draft.mkdir()
        for name in decision["evidence"]:
            _copy(root / "data" / name, draft / name)
        for path in (file for pattern in _FIGURES for file in sorted((root / "data").glob(pattern))):
            _copy(path, draft / path.name)
        for name in _PIPELINE:
            _copy(root / name, draft / name)
        shaping = {name: part for name, part in params.load(root / "params.yaml").items() if name not in _SECRET}
        (draft / "params.yaml").write_text(yaml.safe_dump(shaping, sort_keys=False, allow_unicode=True), "utf-8")
        write_json(draft / "made.json", dict(made))
        for name, text in pages.items():
            (draft / name).write_text(text, encoding="utf-8")
        check(draft, decision, what="data")
    return target


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.exists():
        shutil.copyfile(source, target)


def read(decision: str) -> dict[str, Any]:
    """The decision of a dossier.

    Raises:
        RegistryError: there is no such dossier.
        PackageError: it is not the decision that its digest says.
    """
    folder = folder_of(decision)
    if not folder.is_dir():
        cause = "is not kept in var/decisions"
        raise RegistryError(f"decision {decision[:12]}", cause, "Restore var/ from its backup")
    content: dict[str, Any] = read_json(folder / "decision.json")
    if digest_json(content) != decision:
        remedy = "Restore var/ from its backup"
        raise PackageError(str(folder / "decision.json"), f"is not what its digest {decision[:12]} says", remedy)
    return content


def check(folder: Path, decision: Mapping[str, Any], *, what: str) -> None:
    """Every file that the gate judged still has the digest that the decision names.

    Args:
        what: how a person knows the folder.

    Raises:
        PackageError: names the first that has not.
    """
    for name, digest in decision["evidence"].items():
        path = folder / name
        found = digest_folder(path) if path.is_dir() else sha256(path) if path.exists() else None
        if found != digest:
            remedy = "Run `dvc repro`, which restores or judges it anew" if what == "data" else "Restore var/"
            raise PackageError(f"{what}/{name}", "is not the file that the gate judged", remedy)
