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
    for model in ("teacher", "students/student", "pruned/small"):
        (tmp_path / model).mkdir(parents=True)
        (tmp_path / model / "shift").write_text("0")
    (tmp_path / "task.json").write_text(json.dumps(TASK))
    (tmp_path / "normalization.json").write_text(json.dumps(NORMALIZATION))
    pl.DataFrame({"text": [f"good {'bad ' * n}" for n in range(40)]}).write_parquet(tmp_path / "validation.parquet")
    return {
        **{name: tmp_path / name for name in ("teacher", "students", "pruned", "exported")},
        "validation": tmp_path / "validation.parquet",
        **{name: tmp_path / f"{name}.json" for name in ("normalization", "task", "parity")},
    }  # fmt: skip


def test_every_model_becomes_a_package_with_its_parity(
    artifacts: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    export.run(PARAMS, **artifacts)
    assert package.Package.load(artifacts["exported"] / "teacher").name == "teacher"
    parity = json.loads(artifacts["parity"].read_text())
    same = {"rows": 7, "labels_kept": 1.0, "max_logit_difference": pytest.approx(0, abs=1e-5)}
    assert parity == {"teacher": same, "student": same, "small": same}
    assert "on 7 texts" in capsys.readouterr().out


@pytest.mark.parametrize("shift", ["0.01", "nan"])
def test_a_package_that_answers_otherwise_stops_the_stage_and_nothing_is_written(
    artifacts: dict[str, Path], shift: str
) -> None:
    (artifacts["teacher"] / "shift").write_text(shift)
    with pytest.raises(ModelError, match="teacher: the package's logits differ by up to"):
        export.run(PARAMS, **artifacts)
    assert not artifacts["exported"].exists()
    assert not artifacts["parity"].exists()


def test_what_is_tolerated_is_a_parameter(artifacts: dict[str, Path]) -> None:
    (artifacts["teacher"] / "shift").write_text("0.01")
    export.run(replace(PARAMS, tolerance=0.1), **artifacts)
    assert json.loads(artifacts["parity"].read_text())["teacher"]["max_logit_difference"] == pytest.approx(
        0.02, rel=1e-3
    )


def test_two_models_of_one_name_are_told(artifacts: dict[str, Path]) -> None:
    (artifacts["pruned"] / "small").rename(artifacts["pruned"] / "student")
    with pytest.raises(ModelError, match=r"student: is a model in .*students and in .*pruned"):
        export.run(PARAMS, **artifacts)
    assert not artifacts["exported"].exists()


def test_the_empty_text_and_one_that_is_cut_are_among_those_compared(artifacts: dict[str, Path]) -> None:
    texts = export._sample(artifacts["validation"], rows=5, seed=1)
    assert texts[-2] == ""
    assert len(texts[-1].split()) > 10_000
    assert texts == export._sample(artifacts["validation"], rows=5, seed=1)
    assert texts != export._sample(artifacts["validation"], rows=5, seed=2)
    assert len(export._sample(artifacts["validation"], rows=1000, seed=1)) == 42
