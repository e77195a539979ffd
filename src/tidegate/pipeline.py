"""Reads `dvc.yaml` and `dvc.lock`: the stages, their artifacts, their order, and what a result came from.

It runs nothing, and decides nothing about what is stale: DVC does.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tidegate import params as parameters
from tidegate.errors import PipelineError
from tidegate.files import digest_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step of `dvc.yaml`; all paths are POSIX and relative to the repository's root."""

    name: str
    command: str
    code: tuple[str, ...]
    """Dependencies that are Python files."""
    deps: tuple[str, ...]
    """Dependencies that are data."""
    outs: tuple[str, ...]
    """Outputs, metrics and plots among them."""
    params: Mapping[str, tuple[str, ...]]
    """By params file the keys that the stage depends on."""
    alone: bool
    """Measures time, so nothing may run beside it."""

    def artifacts(self) -> dict[str, str]:
        """By stem the path of every data dependency and output: the keywords of the stage's `run`.

        Raises:
            PipelineError: two of them have the same stem.
        """
        found: dict[str, str] = {}
        for path in (*self.deps, *self.outs):
            stem = PurePosixPath(path).stem
            if stem in found:
                raise PipelineError(
                    f"stage {self.name!r} in dvc.yaml", f"{found[stem]} and {path} have the same stem", "Rename one"
                )
            found[stem] = path
        return found

    def pins(self) -> dict[str, tuple[str, ...]]:
        """By stem the keys of every params file beside `params.yaml`, such as `inputs.yaml`."""
        return {PurePosixPath(file).stem: keys for file, keys in self.params.items() if file != "params.yaml"}


def read_stages(root: Path) -> dict[str, Stage]:
    """All stages of `dvc.yaml`, each after the stages it needs.

    Raises:
        PipelineError: the file is missing or malformed, uses templates, or has a cycle.
    """
    path = root / "dvc.yaml"
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        stages = {name: _stage(name, entry) for name, entry in raw["stages"].items()}
    except FileNotFoundError:
        raise PipelineError(str(path), "there is no such file", "Run in the root of the clone") from None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        cause = f"is no list of stages ({type(error).__name__}: {' '.join(str(error).split())})"
        raise PipelineError(str(path), cause, "Compare it with the version in git") from None
    needs = edges(stages)
    try:
        return {name: stages[name] for name in TopologicalSorter(needs).static_order()}
    except CycleError as error:
        raise PipelineError(str(path), f"has a cycle: {' > '.join(error.args[1])}", "Remove one of its deps") from None


def edges(stages: Mapping[str, Stage]) -> dict[str, tuple[str, ...]]:
    """By stage the names of the stages whose outputs it needs, in the order of `stages`."""
    return {
        stage.name: tuple(other.name for other in stages.values() if _feeds(other, stage)) for stage in stages.values()
    }


def upstream(stages: Mapping[str, Stage], name: str) -> set[str]:
    """The stage and all that it was made from, directly or not."""
    needs = edges(stages)
    found: set[str] = set()
    waiting = [name]
    while waiting:
        if (current := waiting.pop()) not in found:
            found.add(current)
            waiting.extend(needs[current])
    return found


def recipe(stage: str, *, root: Path | None = None) -> dict[str, Any]:
    """What the result of a stage came from, by `dvc.lock`: digests of data, params and code.

    Only what enters from outside counts as data (files that no stage wrote). Two runs with one recipe
    are the same experiment, even where the hardware makes their results differ.

    Returns:
        `data` and `code` (path: digest), `params` (file: key: value), and `digest` over the three.

    Raises:
        PipelineError: a stage that the result needs is not in `dvc.lock`.
    """
    root = root or Path.cwd()
    stages = read_stages(root)
    if stage not in stages:
        raise PipelineError(f"stage {stage!r}", "is not in dvc.yaml", "Name one of: " + ", ".join(stages))
    locked = read_lock(root)
    made = [out for entry in stages.values() for out in entry.outs]
    content: dict[str, dict[str, Any]] = {"data": {}, "params": {}, "code": {}}
    for name in sorted(upstream(stages, stage)):
        if name not in locked:
            raise PipelineError("dvc.lock", f"has no entry of stage {name!r}", "Run `dvc repro`")
        _add_entry(content, locked[name], made)
    return {**content, "digest": digest_json(content)}


def changed_since(root: Path) -> list[str]:
    """The code and params of `root` that are not those that `dvc.lock` says the stages ran with."""
    found: set[str] = set()
    for entry in read_lock(root).values():
        for dep in entry.get("deps", ()):
            if dep["path"].endswith(".py") and md5(root / dep["path"]) != dep["md5"]:
                found.add(dep["path"])
        for file, values in entry.get("params", {}).items():
            now = parameters.load(root / file)
            found.update(f"{key} of {file}" for key, value in values.items() if _at(now, key) != value)
    return sorted(found)


def md5(path: Path) -> str | None:
    """The digest that `dvc.lock` has of a file; None where there is none."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() if path.exists() else None


def _at(content: Any, key: str) -> Any:
    """The value under a dotted key; None where there is none."""
    for part in key.split("."):
        content = content.get(part) if isinstance(content, Mapping) else None
    return content


def _add_entry(content: dict[str, dict[str, Any]], entry: Mapping[str, Any], made: list[str]) -> None:
    for dep in entry.get("deps", ()):
        if dep["path"].endswith(".py"):
            content["code"][dep["path"]] = dep["md5"]
        elif not any(_overlap(out, dep["path"]) for out in made):
            content["data"][dep["path"]] = dep["md5"]
    for file, values in entry.get("params", {}).items():
        content["params"].setdefault(file, {}).update(values)


def read_lock(root: Path) -> dict[str, Any]:
    """The entries of `dvc.lock` by stage; none where there is no such file yet.

    Raises:
        PipelineError: it is damaged.
    """
    path = root / "dvc.lock"
    try:
        stages = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"]
        return {name: dict(entry) for name, entry in stages.items()}
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError):
        remedy = "Restore it (`git checkout dvc.lock`) or delete it, and run again: finished work is kept"
        raise PipelineError("dvc.lock", "is damaged", remedy) from None


def _stage(name: str, raw: Mapping[str, Any]) -> Stage:
    deps = [str(dep) for dep in raw.get("deps", ())]
    outs = [_path(out) for kind in ("outs", "metrics", "plots") for out in raw.get(kind, ())]
    if any("${" in text for text in (raw["cmd"], *deps, *outs)):
        raise PipelineError(f"stage {name!r} in dvc.yaml", "uses a template", "Write the names out")
    return Stage(
        name=name,
        command=raw["cmd"],
        code=tuple(dep for dep in deps if dep.endswith(".py")),
        deps=tuple(dep for dep in deps if not dep.endswith(".py")),
        outs=tuple(outs),
        params=_params(raw.get("params", ())),
        alone=bool((raw.get("meta") or {}).get("alone", False)),
    )


def _path(entry: str | Mapping[str, Any]) -> str:
    return entry if isinstance(entry, str) else next(iter(entry))


def _params(entries: list[str | Mapping[str, list[str]]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for entry in entries:
        for file, keys in ({"params.yaml": [entry]} if isinstance(entry, str) else entry).items():
            found.setdefault(file, []).extend(keys)
    return {file: tuple(keys) for file, keys in found.items()}


def _feeds(maker: Stage, user: Stage) -> bool:
    return maker.name != user.name and any(_overlap(out, dep) for out in maker.outs for dep in user.deps)


def _overlap(one: str, other: str) -> bool:
    """Whether two paths are the same, or one holds the other."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")
