"""How decisions are taken out: section `promote` of `params.yaml`, and the task that it is about."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tidegate import params, registry
from tidegate.errors import ParamsError
from tidegate.params import Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Section `promote` of `params.yaml`."""

    tracking_uri: str | None
    """MLflow's tracking and registry URI; null is SQLite in `var/`."""
    policy: Literal["auto", "manual"]
    """`auto`: what passes the gate becomes champion; `manual`: it waits until a person approves its digest."""
    approval_hours: Annotated[float, Range(gt=0, le=8760)]
    """Hours after which an approval counts no more."""
    test_budget: Annotated[int, Range(ge=1)] | None
    """Candidates that one test set may decide about; null takes what the gate says that it supports."""
    golden_tolerance: Annotated[float, Range(ge=0, lt=1)]
    """Largest difference of a probability between the served package and `evaluate`."""
    figure_tolerance: Annotated[float, Range(ge=0, lt=1)]
    """Largest difference of accuracy and macro-F1 between `verify` and `evaluate`."""
    start_timeout_s: Annotated[float, Range(gt=0)]
    """Seconds that the service may take until it is ready for the golden requests."""

    def uri(self) -> str:
        """The registry in use; `MLFLOW_TRACKING_URI` goes before the default."""
        return self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or registry.default_uri()


def read(root: Path) -> Settings:
    """Section `promote`, bound.

    Raises:
        ParamsError: the section does not fit.
    """
    return params.bind(Settings, params.load(root / "params.yaml").get("promote"), section="promote")


def task_of(root: Path) -> str:
    """The task that `params.yaml` names.

    Raises:
        ParamsError: it names none.
    """
    section = params.load(root / "params.yaml").get("ingest")
    task = section.get("task") if isinstance(section, Mapping) else None
    if not isinstance(task, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", task):
        raise ParamsError(
            "params.yaml", [f"ingest.task: must be letters, digits, hyphens and underscores, is {task!r}"]
        )
    return task
