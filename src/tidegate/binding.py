"""Binds a stage to its entry of `dvc.yaml` and its section of `params.yaml`, and calls it.

Everything is checked before the stage loads anything heavy; all that a stage is given comes from here.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from tidegate import params as parameters
from tidegate.errors import ParamsError, PipelineError
from tidegate.pipeline import Stage, read_stages


def bound(name: str, root: Path) -> Callable[[], None]:
    """The stage as a call without arguments.

    Raises:
        PipelineError: there is no such stage, or its keywords are not the stems of its artifacts.
        ParamsError: its section of `params.yaml` does not fit.
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
    return lambda: module.run(values, **keywords)


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
            raise ParamsError(f"{stem}.yaml", [f"{key}: is missing" for key in missing])
        found[stem] = {key: values[key] for key in keys}
    return found
