"""Fetches by digest the packages that `inputs.yaml` pins: the champion in service and the best ever.

It follows no alias and judges nothing; which packages are pinned is `sync`'s work.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate import files
from tidegate.errors import PackageError, RegistryError

ROLES = ("champion", "best")


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """Nothing to set: the pins say it all."""


def run(params: Params, *, inputs: Mapping[str, Any], task: Path, champion: Path) -> None:
    """Writes `champion/` with a package a pinned role and `champion.json`."""
    described = files.read_json(task)
    found: dict[str, dict[str, Any]] = {}
    with files.replacing(champion) as draft:
        draft.mkdir()
        for role in ROLES:
            found[role] = _fetched(role, inputs.get(role), draft / role, described)
            print(f"{role}: {found[role]['digest'] or 'none'}, {found[role]['reason']}")
        files.write_json(draft / "champion.json", found)


def _fetched(role: str, digest: object, target: Path, described: Mapping[str, Any]) -> dict[str, Any]:
    if digest is None:
        return {"digest": None, "comparable": False, "reason": "none is pinned"}
    source = _stored(role, digest)
    files.copy_folder(source, target)
    if files.digest_folder(target) != digest:
        remedy = f"Delete {source} and run `dvc pull`, or restore var/ from its backup"
        raise PackageError(str(source), "is not what its digest says", remedy)
    return {"digest": digest, **comparable(_metadata(target), described)}


def _stored(role: str, digest: object) -> Path:
    """Where the package lies in the store of every package that was ever judged.

    Raises:
        RegistryError: the pin is no digest, or nothing lies there.
    """
    from tidegate import package_store

    pin = f"{role} in inputs.yaml"
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise RegistryError(pin, f"is no digest: {digest!r}", "Run `python -m tidegate sync`, which writes the pins")
    folder = package_store.folder_of(digest)
    if not folder.is_dir():
        remedy = (
            "Run `dvc pull`, which brings data/champion; or restore var/ from its backup; "
            "or run `python -m tidegate sync`, which pins what the registry has now"
        )
        raise RegistryError(pin, f"names a package that is nowhere: {digest}", remedy)
    return folder


def comparable(metadata: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a package can be judged on the rows of a task, and why (not).

    Args:
        metadata: the content of its `package.json`.
        described: the content of `task.json`.
    """
    if metadata["task"] != described["task"]:
        reason = f"its task is {metadata['task']!r}, not {described['task']!r}"
    elif metadata["labels"] != described["labels"]:
        reason = f"its labels are {metadata['labels']}, not {described['labels']}"
    else:
        return {"comparable": True, "reason": "same task and labels"}
    return {"comparable": False, "reason": reason}


def _metadata(folder: Path) -> dict[str, Any]:
    from tidegate.package import read_metadata

    return read_metadata(folder)
