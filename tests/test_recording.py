"""What the registry is told of a decision: its run from the files, its version, and names that MLflow takes."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.utils.validation import _validate_metric, _validate_param

from tidegate import recording, registry
from tidegate.files import digest_folder, digest_json, write_json
from tidegate.registry_state import DECISION, DIGEST

PARAMS = "train: {epochs: 2, warm_up: null, mask: [url], deterministic: true}\nprefix (odd): {a: x}\n"
METRIC = {"value": 0.75, "low": 0.7, "high": 0.8}
CURVES = "epoch,step,train_loss,validation_loss\n1,10,0.9,\n1,20,0.8,0.85\n"
EVALUATION = {
    "models": {
        "candidate": {
            "digest": "c",
            "accuracy": METRIC,
            "roc_auc": {"value": None, "low": None, "high": None},
            "classes": {"C++ & C": {"f1": METRIC, "rows": 3}, "C__ _ C": {"f1": METRIC, "rows": 4}},
            "confusion": [[1, 2], [3, 4]],
        },
        "teacher": {"accuracy": METRIC},
    }
}


@pytest.fixture
def decided(repository: Callable[..., Path]) -> tuple[Path, dict[str, Any]]:
    """A checkout with the files of a run, and its decision."""
    root = repository({"params.yaml": PARAMS, ".gitignore": "/data\n"})
    data = root / "data"
    (data / "candidate").mkdir(parents=True)
    (data / "candidate" / "package.json").write_text("{}")
    (data / "predictions").mkdir()
    (data / "curves.csv").write_text(CURVES)
    write_json(data / "evaluation.json", EVALUATION)
    decision = {
        "task": "channels", "verdict": "pass", "recipe": "r" * 64, "candidate": digest_folder(data / "candidate"),
        "evidence": {"evaluation.json": "e", "predictions": "p"},
    }  # fmt: skip
    write_json(data / "decision.json", decision)
    return root, decision


def test_a_run_holds_what_was_judged(decided: tuple[Path, dict[str, Any]], empty_registry: str) -> None:
    root, decision = decided
    number = recording.record(root, empty_registry, decision, root / "data" / "candidate")
    client = MlflowClient(empty_registry, empty_registry)
    version = client.get_model_version("channels", str(number))
    run = client.get_run(version.run_id)
    assert run.data.params == {"train.epochs": "2", "train.deterministic": "True", "prefix _odd_.a": "x"}
    assert run.data.metrics["accuracy.value"] == 0.75
    assert run.data.metrics["accuracy.low"] == 0.7
    assert sorted(v for k, v in run.data.metrics.items() if k.endswith("rows") or ".rows " in k) == [3, 4]
    assert run.data.metrics["train_loss"] == 0.8
    assert not any(key.startswith(("roc_auc", "teacher", "confusion", "digest")) for key in run.data.metrics)
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "validation_loss")] == [(20, 0.85)]
    files = sorted(file.path for file in client.list_artifacts(run.info.run_id))
    assert files == ["decision.json", "evaluation.json"]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, check=True, capture_output=True, text=True).stdout
    tags = {"verdict": "pass", "recipe": "r" * 64, "revision": head.strip(), "dirty": "false"}
    assert {f"tidegate.{key}": value for key, value in tags.items()}.items() <= run.data.tags.items()
    assert version.tags[DIGEST] == decision["candidate"]
    assert version.tags[DECISION] == run.data.tags[DECISION] == digest_json(decision)
    assert version.source == str(root / "data" / "candidate")


def test_recording_again_changes_nothing(decided: tuple[Path, dict[str, Any]], empty_registry: str) -> None:
    root, decision = decided
    first = recording.record(root, empty_registry, decision, root / "data" / "candidate")
    state = registry.read(empty_registry, "channels")
    assert recording.record(root, empty_registry, decision, root / "data" / "candidate") == first
    assert registry.read(empty_registry, "channels") == state


def test_a_dirty_tree_and_one_without_a_commit_are_told(tmp_path: Path, decided: tuple[Path, Any]) -> None:
    (decided[0] / "params.yaml").write_text("train: {}\n")
    assert recording._revision(decided[0])["tidegate.dirty"] == "true"
    subprocess.run(["git", "init", "-q", str(tmp_path / "new")], check=True)
    assert recording._revision(tmp_path / "new")["tidegate.revision"] == "none"


def test_nested_figures_are_joined_by_dots() -> None:
    content = {"a": {"b": 1, "c": {"d": 2.5}}, "e": True, "f": "x", "g": None, "h": [1]}
    assert recording.flat(content, keep=(int, float)) == {"a.b": 1, "a.c.d": 2.5}
    assert recording.flat(content, keep=(str, bool)) == {"e": True, "f": "x"}


def test_every_name_is_one_that_mlflow_takes_and_none_is_lost() -> None:
    odd = [
        "C++ & (c).f1",
        "C__ & (c).f1",
        "C-- [c].f1",
        "哲学.f1",
        "a//b",
        "a/../b",
        "/a",
        "x" * 300,
        "x" * 299,
        "a b:c",
    ]
    odd += ["C__ _ _c_.f1"]  # this is what the first would become
    made = recording.spelt({name: number for number, name in enumerate(odd)})
    assert list(made.values()) == list(range(len(odd)))
    assert made["C__ _ _c_.f1"] == len(odd) - 1
    assert made["哲学.f1"] == 3
    for name in made:
        _validate_metric(name, 1.0, 0, 0)
        _validate_param(name, "x")


def test_curves_pass_over_empty_cells(tmp_path: Path) -> None:
    (tmp_path / "curves.csv").write_text(CURVES)
    assert recording.curves(tmp_path / "curves.csv") == {
        "train_loss": [(10, 0.9), (20, 0.8)],
        "validation_loss": [(20, 0.85)],
    }
