"""Stage distill, on a tiny teacher."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tidegate import files
from tidegate.data import UNLABELLED, Tokens
from tidegate.errors import ModelError, ParamsError
from tidegate.model import encoder
from tidegate.model.checkpoints import Keeper
from tidegate.params import bind
from tidegate.stages import distill

LABELS = ["negative", "positive"]
VARIANTS = {"copies": 0, "span": 0.3, "replaced": 0.1, "dropped": 0.1}


class Stage:
    """Runs the stage into a folder of its own."""

    def __init__(self, inputs: Path, teacher: Path, folder: Path, fitting: dict[str, Any]) -> None:
        self.inputs, self.tokens, self.teacher, self.folder = inputs, inputs / "tokens", teacher, folder
        self.params = fitting | {
            "students": [{"name": "student", "layers": [1]}],
            "temperature": 2.0,
            "soft": 0.8,
            "hidden": 1.0,
            "dropout": None,
            "keep_embeddings": False,
            "variants": VARIANTS,
        }

    def run(self, **changes: Any) -> dict[str, Any]:
        distill.run(
            bind(distill.Params, self.params | changes, section="distill"), teacher=self.teacher, tokens=self.tokens,
            **{name: self.inputs / f"{name}.parquet" for name in ("train", "unlabelled")},
            task=self.inputs / "task.json", students=self.folder / "students",
            distillation=self.folder / "distillation.json",
            distill_effort=self.folder / "distill_effort.json",
        )  # fmt: skip
        found: dict[str, Any] = files.read_json(self.folder / "distillation.json")
        return found

    def student(self, name: str = "student") -> torch.nn.Module:
        return encoder.load(self.folder / "students" / name, LABELS, trained=True)


@pytest.fixture
def stage(inputs: Path, teacher: Path, tmp_path: Path, fitting: dict[str, Any]) -> Stage:
    return Stage(inputs, teacher, tmp_path, fitting)


def test_a_student_has_the_layers_it_was_given_and_answers_as_its_teacher(stage: Stage) -> None:
    report = stage.run()["student"]
    student, teacher = stage.student(), encoder.load(stage.teacher, LABELS, trained=True)
    assert student.config.num_hidden_layers == 1  # type: ignore[union-attr]
    assert report["layers"] == [1]
    assert report["parameters"] == sum(weights.numel() for weights in student.parameters())
    assert report["parameters"] < sum(weights.numel() for weights in teacher.parameters())
    assert report["agreement"] >= 0.9
    assert report["validation"]["accuracy"] >= 0.9
    assert not stage.folder.joinpath("students.partial").exists()
    assert files.read_json(stage.folder / "distill_effort.json")["seconds"] > report["seconds"]


@pytest.mark.parametrize("keep", [True, False])
def test_the_embeddings_are_learnt_or_kept(stage: Stage, keep: bool) -> None:
    stage.run(keep_embeddings=keep)
    teacher = encoder.load(stage.teacher, LABELS, trained=True)
    name = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(stage.student().state_dict()[name], teacher.state_dict()[name]) is keep


def test_two_runs_give_the_same_bytes(stage: Stage) -> None:
    stage.run()
    first = files.digest_folder(stage.folder / "students")
    stage.run()
    assert files.digest_folder(stage.folder / "students") == first


def test_several_students_are_taught_apart(stage: Stage) -> None:
    alone = stage.run()["student"]
    both = stage.run(students=[{"name": "other", "layers": [0]}, {"name": "student", "layers": [1]}])
    assert set(both) == {"other", "student"}
    assert both["student"]["history"][-1]["validation_loss"] == pytest.approx(alone["history"][-1]["validation_loss"])
    assert stage.student("other").config.num_hidden_layers == 1  # type: ignore[union-attr]


def test_unlabelled_rows_are_learnt_from_too(stage: Stage, tmp_path: Path) -> None:
    stage.run()
    without = files.digest_folder(stage.folder / "students")
    rows = Tokens(stage.tokens / "train.arrow")
    stage.tokens = Path(shutil.copytree(stage.tokens, tmp_path / "tokens"))
    Tokens.write(stage.tokens / "unlabelled.arrow", list(rows), np.full(len(rows), UNLABELLED))
    report = stage.run()["student"]
    assert report["rows"] == 2 * len(rows)
    assert report["validation"]["accuracy"] >= 0.9
    assert files.digest_folder(stage.folder / "students") != without


def test_variants_are_learnt_from_too(stage: Stage) -> None:
    rows = stage.run()["student"]["rows"]
    without = files.digest_folder(stage.folder / "students")
    report = stage.run(variants=VARIANTS | {"copies": 2})["student"]
    assert report["rows"] == 3 * rows
    assert report["validation"]["accuracy"] >= 0.9
    assert files.digest_folder(stage.folder / "students") != without


def test_a_killed_run_goes_on_and_ends_the_same(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.run()
    whole = files.digest_folder(stage.folder / "students")
    ended, ends = Keeper.on_train_epoch_end, []

    def dies(self: Any, trainer: Any, module: Any) -> None:
        ended(self, trainer, module)
        ends.append(trainer.current_epoch)
        if len(ends) == 2:
            raise ConnectionAbortedError

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "on_train_epoch_end", dies)
        with pytest.raises(ConnectionAbortedError):
            stage.run()
    monkeypatch.setattr("tidegate.model.distillation._answer", lambda *_: pytest.fail("the teacher answered again"))
    report = stage.run()["student"]
    assert len(report["history"]) == 3
    assert files.digest_folder(stage.folder / "students") == whole


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"students": [{"name": "a b", "layers": [0]}]}, "'a b' is not"),
        ({"students": [{"name": "teacher", "layers": [0]}]}, "'teacher' is the name of the trained model"),
        ({"students": [{"name": "student", "layers": [1, 0]}]}, "must ascend"),
        ({"students": [{"name": "student", "layers": []}]}, "must be at least 1"),
        ({"soft": 1.5}, "at most 1"),
        ({"accumulate": 99}, "accumulate"),
    ],
)
def test_params_that_make_no_sense_are_told(stage: Stage, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ParamsError, match=told):
        stage.run(**changes)


def test_a_layer_that_the_teacher_lacks_is_told(stage: Stage) -> None:
    with pytest.raises(ModelError, match="names layer 2, and the teacher has the layers 0 to 1"):
        stage.run(students=[{"name": "student", "layers": [0, 2]}])
    assert not (stage.folder / "students").exists()


def test_no_students_are_an_empty_folder(stage: Stage) -> None:
    assert stage.run(students=[]) == {}
    assert list((stage.folder / "students").iterdir()) == []
