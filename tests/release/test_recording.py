"""What the registry is told of a decision: its run from the files, its version, and names that MLflow takes."""

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.utils.validation import _validate_metric, _validate_param

from tidegate import registry
from tidegate.files import digest_folder, digest_json, write_json
from tidegate.registry_state import DECISION, DIGEST
from tidegate.release import recording

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


MADE = {"tree": "t" * 40, "revision": "none", "dirty": "true"}


@pytest.fixture
def decided(tmp_path: Path) -> tuple[dict[str, Any], Path, Path]:
    """A decision, its dossier, and the package."""
    folder, package = tmp_path / "dossier", tmp_path / "package"
    package.mkdir()
    (package / "package.json").write_text("{}")
    (folder / "predictions").mkdir(parents=True)
    (folder / "curves.csv").write_text(CURVES)
    (folder / "params.yaml").write_text(PARAMS)
    write_json(folder / "made.json", MADE)
    write_json(folder / "evaluation.json", EVALUATION)
    decision = {
        "task": "channels", "verdict": "pass", "reasons": ["it is better"], "recipe": "r" * 64,
        "candidate": digest_folder(package),
        "evidence": {"evaluation.json": "e", "predictions": "p"},
    }  # fmt: skip
    write_json(folder / "decision.json", decision)
    return decision, folder, package


def test_a_run_holds_what_was_judged(decided: tuple[dict[str, Any], Path, Path], empty_registry: str) -> None:
    decision, folder, package = decided
    number = recording.record(empty_registry, *decided)
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
    assert files == sorted(path.name for path in folder.iterdir() if path.is_file())
    tags = {"verdict": "pass", "recipe": "r" * 64, **MADE}
    assert {f"tidegate.{key}": value for key, value in tags.items()}.items() <= run.data.tags.items()
    assert version.tags[DIGEST] == decision["candidate"]
    assert version.tags[DECISION] == run.data.tags[DECISION] == digest_json(decision)
    assert version.source == str(package)
    assert "**pass**\n\n- it is better\n" in version.description


def test_recording_again_changes_nothing(decided: tuple[dict[str, Any], Path, Path], empty_registry: str) -> None:
    first = recording.record(empty_registry, *decided)
    state = registry.read(empty_registry, "channels")
    assert recording.record(empty_registry, *decided) == first
    assert registry.read(empty_registry, "channels") == state


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
