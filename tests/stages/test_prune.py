"""Stage prune, on a tiny teacher and student."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from tidegate import files
from tidegate.errors import ModelError, ParamsError
from tidegate.model import encoder
from tidegate.params import bind
from tidegate.stages import distill, prune

LABELS = ["negative", "positive"]
VARIANTS = {"copies": 1, "span": 0.3, "replaced": 0.1, "dropped": 0.1}
SHAPE = {"name": "pruned", "of": "teacher", "heads": 1, "neurons": 16, "vocabulary": None}


class Stage:
    """Runs the stage into a folder of its own."""

    def __init__(self, inputs: Path, teacher: Path, students: Path, folder: Path, fitting: dict[str, Any]) -> None:
        self.inputs, self.teacher, self.students, self.folder = inputs, teacher, students, folder
        self.params = fitting | {
            "models": [SHAPE], "importance_rows": 64, "temperature": 2.0, "soft": 0.8, "hidden": 1.0,
            "dropout": None, "keep_embeddings": False, "variants": VARIANTS,
        }  # fmt: skip

    def run(self, **changes: Any) -> dict[str, Any]:
        prune.run(
            bind(prune.Params, self.params | changes, section="prune"), teacher=self.teacher, students=self.students,
            tokens=self.inputs / "tokens", task=self.inputs / "task.json",
            **{name: self.inputs / f"{name}.parquet" for name in ("train", "unlabelled", "validation")},
            pruned=self.folder / "pruned", pruning=self.folder / "pruning.json",
            prune_effort=self.folder / "prune_effort.json",
        )  # fmt: skip
        found: dict[str, Any] = files.read_json(self.folder / "pruning.json")
        return found

    def weights(self, name: str = "pruned") -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = load_file(self.folder / "pruned" / name / "model.safetensors")
        return found


@pytest.fixture(scope="module")
def students(inputs: Path, teacher: Path, fitting: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("students")
    params = fitting | {
        "students": [{"name": "student", "layers": [1]}],
        "temperature": 2.0,
        "soft": 0.8,
        "hidden": 1.0,
        "dropout": None,
        "keep_embeddings": False,
        "variants": VARIANTS,
    }
    distill.run(
        bind(distill.Params, params, section="distill"), teacher=teacher, tokens=inputs / "tokens",
        **{name: inputs / f"{name}.parquet" for name in ("train", "unlabelled")},
        task=inputs / "task.json", students=folder / "students", distillation=folder / "distillation.json",
        distill_effort=folder / "distill_effort.json",
    )  # fmt: skip
    return folder / "students"


@pytest.fixture
def stage(inputs: Path, teacher: Path, students: Path, tmp_path: Path, fitting: dict[str, Any]) -> Stage:
    return Stage(inputs, teacher, students, tmp_path, fitting)


def test_heads_and_neurons_are_gone_from_the_shapes_and_the_model_recovers(stage: Stage) -> None:
    report = stage.run()["pruned"]
    weights = stage.weights()
    layer = "bert.encoder.layer.0."
    assert weights[layer + "attention.self.query.weight"].shape == (8, 16)  # one head of two, 8 wide
    assert weights[layer + "attention.output.dense.weight"].shape == (16, 8)
    assert weights[layer + "intermediate.dense.weight"].shape == (16, 16)  # 16 neurons of 32
    assert weights[layer + "output.dense.weight"].shape == (16, 16)
    assert report["heads"] == 1
    assert report["validation"]["accuracy"] >= 0.9
    assert not stage.folder.joinpath("pruned.partial").exists()
    assert files.read_json(stage.folder / "prune_effort.json")["seconds"] > report["seconds"]


def test_a_student_is_pruned_as_the_teacher_is(stage: Stage) -> None:
    report = stage.run(models=[SHAPE | {"name": "small", "of": "student"}])["small"]
    assert not any("layer.1." in name for name in stage.weights("small"))
    assert report["of"] == "student"
    assert report["validation"]["accuracy"] >= 0.85


def test_positions_that_no_text_reaches_are_gone(stage: Stage) -> None:
    stage.run()
    assert stage.weights()["bert.embeddings.position_embeddings.weight"].shape == (12, 16)


def test_a_smaller_vocabulary_goes_with_a_smaller_table_and_every_text_still_encodes(stage: Stage) -> None:
    size = 42
    models = [{"name": "pruned", "of": "teacher", "heads": None, "neurons": None, "vocabulary": size}]
    report = stage.run(models=models)["pruned"]
    folder = stage.folder / "pruned" / "pruned"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == size == len(stage.weights()["bert.embeddings.word_embeddings.weight"])
    assert encoder.configuration(folder)["vocab_size"] == size
    assert report["vocabulary"]["before"] > report["vocabulary"]["after"] == size
    dropped = set(Tokenizer.from_file(str(stage.teacher / "tokenizer.json")).get_vocab()) - set(tokenizer.get_vocab())
    assert dropped
    assert all(max(tokenizer.encode(word).ids) < size for word in [*dropped, "漢字", ""])
    assert report["validation"]["accuracy"] >= 0.85


def test_two_runs_give_the_same_bytes(stage: Stage) -> None:
    models = [SHAPE | {"vocabulary": 42}]
    stage.run(models=models)
    first = files.digest_folder(stage.folder / "pruned")
    stage.run(models=models)
    assert files.digest_folder(stage.folder / "pruned") == first


def test_what_is_written_answers_as_what_was_measured(stage: Stage) -> None:
    from tidegate.data import TokenDataset, Tokens
    from tidegate.model import scores

    report = stage.run()["pruned"]
    model = encoder.load(stage.folder / "pruned" / "pruned", LABELS, trained=True)
    rows = TokenDataset(Tokens(stage.inputs / "tokens" / "validation.arrow"), pad=0)
    assert scores.measure(model, rows, batch_size=64)["loss"] == pytest.approx(report["validation"]["loss"], abs=1e-4)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ({"heads": 3}, "prune.models, heads of 'pruned': is 3, and a layer has 2"),
        ({"neurons": 33}, "prune.models, neurons of 'pruned': is 33, and a layer has 32"),
        ({"vocabulary": 5}, "prune.models, vocabulary of 'pruned': is 5, and special tokens"),
        ({"of": "nobody"}, "is 'nobody', which is no model.*Name one of: teacher, student"),
    ],
)
def test_a_shape_that_cannot_be_is_told_and_nothing_is_written(stage: Stage, shape: dict[str, Any], told: str) -> None:
    with pytest.raises(ModelError, match=told):
        stage.run(models=[SHAPE | shape])
    assert not (stage.folder / "pruned").exists()


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ([SHAPE | {"heads": None, "neurons": None}], "removes nothing"),
        ([SHAPE | {"name": "a/b"}], "'a/b' is not"),
        ([SHAPE, SHAPE], "'pruned' stands there twice"),
        ([SHAPE | {"heads": 0}], "at least 1"),
    ],
)
def test_params_that_make_no_sense_are_told(stage: Stage, models: list[Any], told: str) -> None:
    with pytest.raises(ParamsError, match=told):
        stage.run(models=models)


def test_the_least_important_neurons_cost_less_than_the_most_important(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidegate.model import pruning

    kept = pruning.strongest
    losses = {}
    for name, sign in (("least", 1), ("most", -1)):
        monkeypatch.setattr(
            pruning, "strongest", lambda scores, count, what, sign=sign: kept(sign * scores, count, what=what)
        )
        models = [SHAPE | {"heads": None, "neurons": 4}]
        losses[name] = stage.run(models=models, epochs=1, learning_rate=1e-9)["pruned"]["validation"]["loss"]
    assert losses["least"] < losses["most"]
