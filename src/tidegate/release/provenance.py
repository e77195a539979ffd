"""What the tree of a run holds, by the name of its git object: stages, artifacts, params, recipe and sources.

Read from git and from DVC's cache as files; nothing is checked out, and nothing is written to the repository.
"""

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tidegate import files, params, pipeline
from tidegate.errors import DataError, ParamsError, PipelineError, RegistryError

_CHOSEN = "select"
"""The stage whose recipe is that of a candidate."""
_FILES = ("dvc.yaml", "dvc.lock", "params.yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file or a folder that a stage wrote or read, as `dvc.lock` names it."""

    stage: str
    path: str
    md5: str
    size: int
    made: bool
    """Whether the stage wrote it; else it read it."""


@dataclass(frozen=True)
class Tree:
    """The tree of one run.

    Args:
        root: the repository that holds it.
        lock: the entries of its `dvc.lock` by stage, in the order of the pipeline.
        params: the sections of its `params.yaml`.
        recipe: as `pipeline.recipe` gives it.
    """

    root: Path
    lock: Mapping[str, Any]
    params: Mapping[str, Any]
    recipe: Mapping[str, Any]

    @cached_property
    def artifacts(self) -> list[Artifact]:
        """All that its stages read and wrote."""
        return [artifact for stage, entry in self.lock.items() for artifact in _artifacts(stage, entry)]

    def out(self, path: str) -> Artifact | None:
        """The artifact that is, or holds, a path."""
        made = (one for one in self.artifacts if one.made)
        return next((one for one in made if one.path == path or path.startswith(f"{one.path}/")), None)

    @cached_property
    def sources(self) -> list[Mapping[str, Any]] | None:
        """Where its records came from, as its `manifest.json` says; None where that is no longer in the cache."""
        manifest = self.out("data/manifest.json")
        if manifest is None or not (path := _in_cache(self._cache, manifest.md5)).is_file():
            return None
        try:
            return list(files.read_json(path, "sources")["sources"])
        except DataError:
            return None

    @cached_property
    def _cache(self) -> Path:
        return cache_folder(self.root)

    def keeps(self, artifact: Artifact) -> bool:
        """Whether an artifact lies in DVC's cache, of a folder every file."""
        path = _in_cache(self._cache, artifact.md5)
        if not path.is_file() or not artifact.md5.endswith(".dir"):
            return path.is_file()
        try:
            return all(_in_cache(self._cache, file["md5"]).is_file() for file in files.read_json(path))
        except DataError:
            return False


def read(root: Path, name: str) -> Tree:
    """The tree under the name of a git object.

    Raises:
        RegistryError: git has it no longer, or it is not that of a run.
    """
    what = f"the git object {name[:40]!r}"
    with tempfile.TemporaryDirectory(prefix="tidegate-tree-") as folder:
        for file in _FILES:
            content = _blob(root, name, file)
            if content is None:
                cause = f"holds no {file}, or is not in this repository"
                raise RegistryError(what, cause, "Fetch it from the clone that promoted the version")
            (Path(folder) / file).write_bytes(content)
        try:
            order, lock = pipeline.read_stages(Path(folder)), pipeline.read_lock(Path(folder))
            recipe = pipeline.recipe(_CHOSEN, root=Path(folder))
            sections = params.load(Path(folder) / "params.yaml")
        except (PipelineError, ParamsError) as error:
            raise RegistryError(what, f"is not the tree of a finished run ({error.cause})", "Name another") from None
    return Tree(root, {stage: lock[stage] for stage in order if stage in lock}, sections, recipe)


def _blob(root: Path, name: str, file: str) -> bytes | None:
    if name.startswith("-"):
        return None
    done = subprocess.run(["git", "cat-file", "blob", f"{name}:{file}"], cwd=root, capture_output=True, check=False)
    return None if done.returncode else done.stdout


def _artifacts(stage: str, entry: Mapping[str, Any]) -> Iterator[Artifact]:
    for kind in ("deps", "outs"):
        for one in entry.get(kind, ()):
            yield Artifact(
                stage=stage, path=one["path"], md5=str(one.get("md5", "")), size=int(one.get("size", 0)),
                made=kind == "outs",
            )  # fmt: skip


def _in_cache(folder: Path, md5: str) -> Path:
    """Where a file of this MD5, or the list of a folder's files, lies or would lie."""
    return folder / "files" / "md5" / md5[:2] / md5[2:]


def cache_folder(root: Path) -> Path:
    """DVC's cache, by its settings (whose files git can read)."""
    for settings in ("config.local", "config"):
        command = ["git", "config", "--file", str(root / ".dvc" / settings), "cache.dir"]
        found = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout.strip()
        if found:
            return root / ".dvc" / found
    return root / ".dvc" / "cache"
