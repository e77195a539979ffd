"""Section `promote` and the task are read strictly, and the registry's address comes from where it should."""

from pathlib import Path

import pytest

from tidegate.errors import ParamsError
from tidegate.release import settings

PARAMS = """\
ingest: {task: channels}
promote: {tracking_uri: null, policy: auto, approval_hours: 72, test_budget: null, golden_tolerance: 0.0001,
  figure_tolerance: 0.001, start_timeout_s: 60}
"""


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ("ingest: {task: channels}", "promote: must be a mapping"),
        (PARAMS.replace("0.0001", "1"), "golden_tolerance: must be below 1"),
        (PARAMS.replace("auto", "maybe"), "policy"),
        (PARAMS.replace("test_budget: null", "test_budget: 0"), "test_budget: must be at least 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, params: str, words: str) -> None:
    (tmp_path / "params.yaml").write_text(params)
    with pytest.raises(ParamsError, match=words):
        settings.read(tmp_path)


def test_the_registry_is_the_named_one_then_that_of_mlflow_then_the_one_in_var(
    tmp_path: Path, var: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS)
    assert settings.read(tmp_path).uri() == f"sqlite:///{var / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host")
    assert settings.read(tmp_path).uri() == "http://host"
    path.write_text(PARAMS.replace("tracking_uri: null", "tracking_uri: http://other"))
    assert settings.read(tmp_path).uri() == "http://other"


@pytest.mark.parametrize(
    "params", ["{}", "ingest: 3", "ingest: {task: 3}", "ingest: {task: ''}", "ingest: {task: ../a}"]
)
def test_a_task_without_a_name_is_refused(tmp_path: Path, params: str) -> None:
    (tmp_path / "params.yaml").write_text(params)
    with pytest.raises(ParamsError, match=r"ingest\.task"):
        settings.task_of(tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS)
    assert settings.task_of(tmp_path) == "channels"
