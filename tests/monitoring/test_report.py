"""Evidently computes, draws and remembers; what it is asked for works offline."""

import math
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from monitoring import report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def snapshot(make_rows: Callable[..., pl.DataFrame]) -> object:
    window = make_rows(300, seed=2, shares=(0.1, 0.8, 0.1))
    return report.compared(make_rows(2000, seed=1), window, rate=0.05, seconds=1_700_000_000.0)


def test_the_mix_of_labels_is_called_drifted_and_nothing_else(snapshot: object) -> None:
    seen = report.summary(snapshot)
    assert {name for name, column in seen.items() if column["drifted"]} == {"label"}
    assert seen["label"]["test"] == "two_sample_chi_square"
    assert set(seen) == {*report.NUMBERS, "label"}
    assert all(math.isfinite(column["p_value"]) for column in seen.values())


def test_the_page_is_one_file_that_loads_nothing(snapshot: object, tmp_path: Path) -> None:
    report.write_page(snapshot, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "plotly" in page.lower()
    assert "<script src=" not in page


def test_a_window_is_in_the_history_once(snapshot: object, tmp_path: Path) -> None:
    from evidently.ui.workspace import Workspace

    for name in ("w1", "w1", "w2"):
        report.add_to_history(snapshot, tmp_path / "history", "channels", name)
    workspace = Workspace.create(str(tmp_path / "history"))
    [project] = workspace.search_project("channels")
    assert len(workspace.list_runs(project.id)) == 2
