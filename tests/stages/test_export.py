"""Stage export: a package a model, all of them or none, and none that answers otherwise than its model."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tidegate import package
from tidegate.errors import ModelError
from tidegate.stages import export

PARAMS = export.Params(opset=20, parity_rows=5, tolerance=0.001, seed=1)
TASK = {"task": "channels", "labels": ["negative", "neutral", "positive"], "slices": ["channel"]}
NORMALIZATION = {"mend_unicode": True, "strip_markup": True, "mask": ["url", "email"], "max_characters": 5_000}


@pytest.fixture
def artifacts(tmp_path: Path, package_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The model module is replaced: its classifier is a package, shifted by what the teacher's folder says."""
    from tidegate.model import export as model_export

    bag = package.Package.load(package_folder(tmp_path / "bag"))

    class Shifted:
        max_length = 16

        def __init__(self, folder: Path) -> None:
            self.shift = float((folder / "shift").read_text())

        def logits(self, texts: list[str]) -> Any:
            return bag.logits(texts) + self.shift * np.arange(3)

    def write_package(folder: Path, classifier: Shifted, *, name: str, **_: Any) -> None:
        package_folder(folder, name=name)

    monkeypatch.setattr(model_export, "load", lambda folder, labels: Shifted(folder))
    monkeypatch.setattr(model_export, "write_package", write_package)
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "shift").write_text("0")
    (tmp_path / "task.json").write_text(json.dumps(TASK))
    (tmp_path / "normalization.json").write_text(json.dumps(NORMALIZATION))
    pl.DataFrame({"text": [f"good {'bad ' * n}" for n in range(40)]}).write_parquet(tmp_path / "validation.parquet")
    return {
        "teacher": tmp_path / "teacher", "validation": tmp_path / "validation.parquet",
        "normalization": tmp_path / "normalization.json", "task": tmp_path / "task.json",
        "packages": tmp_path / "packages", "parity": tmp_path / "parity.json",
    }  # fmt: skip


def test_the_teacher_becomes_a_package_with_its_parity(
    artifacts: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    export.run(PARAMS, **artifacts)
    assert package.Package.load(artifacts["packages"] / "teacher").name == "teacher"
    parity = json.loads(artifacts["parity"].read_text())
    assert parity == {"teacher": {"rows": 7, "labels_kept": 1.0, "max_logit_difference": pytest.approx(0, abs=1e-5)}}
    assert "on 7 texts" in capsys.readouterr().out


@pytest.mark.parametrize("shift", ["0.01", "nan"])
def test_a_package_that_answers_otherwise_stops_the_stage_and_nothing_is_written(
    artifacts: dict[str, Path], shift: str
) -> None:
    (artifacts["teacher"] / "shift").write_text(shift)
    with pytest.raises(ModelError, match="teacher: the package's logits differ by up to"):
        export.run(PARAMS, **artifacts)
    assert not artifacts["packages"].exists()
    assert not artifacts["parity"].exists()


def test_what_is_tolerated_is_a_parameter(artifacts: dict[str, Path]) -> None:
    (artifacts["teacher"] / "shift").write_text("0.01")
    export.run(replace(PARAMS, tolerance=0.1), **artifacts)
    assert json.loads(artifacts["parity"].read_text())["teacher"]["max_logit_difference"] == pytest.approx(
        0.02, rel=1e-3
    )


def test_further_models_become_packages_beside_it(artifacts: dict[str, Path]) -> None:
    export.export_all(
        PARAMS, {"teacher": artifacts["teacher"], "student": artifacts["teacher"]}, texts=["good"],
        normalization=NORMALIZATION, task=TASK, packages=artifacts["packages"], parity=artifacts["parity"],
    )  # fmt: skip
    assert sorted(folder.name for folder in artifacts["packages"].iterdir()) == ["student", "teacher"]
    assert sorted(json.loads(artifacts["parity"].read_text())) == ["student", "teacher"]


def test_the_empty_text_and_one_that_is_cut_are_among_those_compared(artifacts: dict[str, Path]) -> None:
    texts = export._sample(artifacts["validation"], rows=5, seed=1)
    assert texts[-2] == ""
    assert len(texts[-1].split()) > 10_000
    assert texts == export._sample(artifacts["validation"], rows=5, seed=1)
    assert texts != export._sample(artifacts["validation"], rows=5, seed=2)
    assert len(export._sample(artifacts["validation"], rows=1000, seed=1)) == 42
