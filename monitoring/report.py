"""Evidently's view of a window: figures in a few hundred bytes, a page on demand, the history for its dashboard.

It computes what it computes soundly (Kolmogorov-Smirnov; the two-sample chi-square is ours, since its own takes the
reference as exact) and draws. Findings are not made here: its thresholds hold no rate over windows of documents.
"""

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.files import replacing

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from evidently.core.report import Snapshot

NUMBERS = ("tokens", "unknown", "confidence")
_CHI_SQUARE = "two_sample_chi_square"


def compared(reference: "pl.DataFrame", window: "pl.DataFrame", *, rate: float, seconds: float | None) -> "Snapshot":
    """Runs Evidently on a reference and a window.

    Args:
        reference, window: frames with `tokens`, `unknown`, `label` and `probabilities`.
        rate: the chance of any drifted column, were rows independent; every test has its part of it.
        seconds: when the window ended, since the epoch.
    """
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    _register()
    part = rate / (len(NUMBERS) + 1)
    described = DataDefinition(numerical_columns=list(NUMBERS), categorical_columns=["label"])
    datasets = [Dataset.from_pandas(_columns(rows), data_definition=described) for rows in (window, reference)]
    metrics: list[Any] = [ValueDrift(column=name, method="ks", threshold=part) for name in NUMBERS]
    metrics.append(ValueDrift(column="label", method=_CHI_SQUARE, threshold=part))
    when = None if seconds is None else datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return Report(metrics, include_tests=True).run(*datasets, timestamp=when)


def summary(snapshot: "Snapshot") -> dict[str, dict[str, Any]]:
    """By column the test, its p-value, and whether Evidently calls it drifted; JSON-able."""
    return {
        metric["config"]["column"]: {
            "test": metric["config"]["method"],
            "p_value": float(metric["value"]),
            "drifted": bool(metric["value"] < metric["config"]["threshold"]),
        }
        for metric in snapshot.dict()["metrics"]
    }


def write_page(snapshot: "Snapshot", path: Path) -> None:
    """Writes the page, one file of some 4 MB that loads nothing from outside, whole or not at all."""
    with replacing(path) as draft:
        snapshot.save_html(str(draft))


def add_to_history(snapshot: "Snapshot", folder: Path, task: str, name: str) -> None:
    """Adds a window (some 80 KB) to the workspace that `evidently ui --workspace FOLDER` shows; of a name, once."""
    from evidently.ui.workspace import Workspace

    workspace = Workspace.create(str(folder))
    found = workspace.search_project(task)
    project = found[0] if found else _project(workspace, task)
    seen = folder / str(project.id) / f"{name}.added"
    if not seen.exists():
        workspace.add_run(project.id, snapshot, include_data=False, name=name)
        seen.touch()


def _project(workspace: Any, task: str) -> Any:
    from evidently.sdk.models import PanelMetric
    from evidently.sdk.panels import line_plot_panel

    project = workspace.create_project(task, description="Windows of the prediction log against the champion's test")
    for column in (*NUMBERS, "label"):
        metric = PanelMetric(metric="ValueDrift", metric_labels={"column": column}, legend="p-value")
        project.dashboard.add_panel(line_plot_panel(title=f"{column}: p-value", values=[metric], size="half"))
    return project


def _columns(rows: "pl.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    numbers = {name: rows[name].to_numpy().astype(float) for name in ("tokens", "unknown")}
    return pd.DataFrame(
        {**numbers, "confidence": rows["probabilities"].list.max().to_numpy(), "label": rows["label"].to_list()}
    )


def _register() -> None:
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    def test(reference: "pd.Series[Any]", current: "pd.Series[Any]", _: Any, threshold: float) -> tuple[float, bool]:
        import pandas as pd
        from scipy.stats import chi2_contingency

        counts = pd.concat([reference.value_counts(), current.value_counts()], axis=1).fillna(0)
        p_value = float(chi2_contingency(counts.T.to_numpy())[1]) if len(counts) > 1 else 1.0
        return p_value, p_value < threshold

    kinds = [ColumnType.Categorical]
    register_stattest(StatTest(_CHI_SQUARE, "two-sample chi-square p-value", kinds), default_impl=test)
