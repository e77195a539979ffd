"""Binds a stage to its entry of `dvc.yaml` and its section of `params.yaml`, and calls it.

Everything is checked before the stage loads anything heavy; all that a stage is given comes from here.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from tidegate import monitor_settings
from tidegate import params as parameters
from tidegate.errors import DataError, ParamsError, PipelineError
from tidegate.files import read_json
from tidegate.pipeline import Stage, read_lock, read_stages
from tidegate.release.settings import Settings
from tidegate.serving.settings import Settings as ServeSettings

_PARQUET = b"PAR1"
"""Begins and ends every Parquet file."""
ENDS: dict[str, type] = {"promote": Settings, "serve": ServeSettings, "monitor": monitor_settings.Settings}
"""Sections of `params.yaml` that belong to no stage: what happens after a run."""


def check(root: Path) -> None:
    """Looks at all that a whole run rests on, before any of it runs.

    Raises:
        PipelineError: `dvc.yaml` or `dvc.lock` is damaged.
        ParamsError: lists what is wrong with all sections of `params.yaml`, at once.
    """
    stages = read_stages(root)
    read_lock(root)
    sections = parameters.load(root / "params.yaml")
    kinds = {name: _module(name).Params for name in stages} | ENDS
    problems = [f"{name}: no stage or end has this section" for name in sections if name not in kinds]
    for name, kind in kinds.items():
        try:
            parameters.bind(kind, _section(root, name), section=name)
        except ParamsError as error:
            problems.extend(error.problems)
    if problems:
        raise ParamsError("params.yaml", problems, "Correct it in params.yaml; every key has a comment there")


def bound(name: str, root: Path) -> Callable[[], None]:
    """The stage as a call without arguments.

    Raises:
        PipelineError: there is no such stage, or its keywords are not the stems of its artifacts.
        ParamsError: its section of `params.yaml` does not fit.
        DataError: what it needs is missing or damaged.
    """
    stages = read_stages(root)
    if name not in stages:
        raise PipelineError(f"stage {name!r}", "is not in dvc.yaml", "Name one of: " + ", ".join(stages))
    stage = stages[name]
    module = _module(name)
    keywords = {stem: Path(path) for stem, path in stage.artifacts().items()} | _pinned(stage, root)
    mismatch = signature_problems(module.run, set(keywords))
    if mismatch:
        remedy = f"Make dvc.yaml and stages/{name}.py agree"
        raise PipelineError(f"stage {name!r}", "; ".join(mismatch), remedy)
    values = parameters.bind(module.Params, _section(root, name), section=name)
    for dep in stage.deps:
        _check_dep(root / dep, dep)
    return lambda: module.run(values, **keywords)


def _check_dep(path: Path, name: str) -> None:
    """What can be told without a library: that it is there, and whole as far as its first and last bytes say."""
    if not path.exists():
        raise DataError(name, "is missing", "Run `dvc repro`, which makes it; `make setup` makes data/raw")
    if path.suffix == ".json":
        read_json(path)
    if path.suffix == ".parquet":
        with path.open("rb") as stream:
            first = stream.read(4)
            stream.seek(max(len(first), path.stat().st_size - 4))
            if (first, stream.read()) != (_PARQUET, _PARQUET):
                raise DataError(name, "is damaged, or no Parquet", "Delete it and run `dvc repro`, which restores it")


def signature_problems(run: Callable[..., None], stems: set[str]) -> list[str]:
    """How the keywords of a stage's `run` differ from the stems in `dvc.yaml`; empty where they do not."""
    keywords = {p.name for p in inspect.signature(run).parameters.values() if p.kind is p.KEYWORD_ONLY}
    problems = [f"run() asks for {word!r}, which dvc.yaml does not name" for word in sorted(keywords - stems)]
    problems += [f"dvc.yaml names {stem!r}, which run() does not take" for stem in sorted(stems - keywords)]
    return problems


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"tidegate.stages.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"tidegate.stages.{name}":
            raise
        raise PipelineError(
            f"stage {name!r}", f"has no module stages/{name}.py", "Write it, or mend dvc.yaml"
        ) from None


def _section(root: Path, name: str) -> object:
    sections = parameters.load(root / "params.yaml")
    if name not in sections:
        raise ParamsError("params.yaml", [f"{name}: the section is missing"])
    return sections[name]


def _pinned(stage: Stage, root: Path) -> dict[str, Mapping[str, Any]]:
    """By stem of a params file beside `params.yaml` just the keys that the stage declares."""
    found: dict[str, Mapping[str, Any]] = {}
    for stem, keys in stage.pins().items():
        values = parameters.load(root / f"{stem}.yaml")
        if missing := [key for key in keys if key not in values]:
            raise ParamsError(
                f"{stem}.yaml", [f"{key}: is missing" for key in missing], "Run `python -m tidegate sync`"
            )
        found[stem] = {key: values[key] for key in keys}
    return found
