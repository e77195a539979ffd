"""Stage train, on a tiny encoder with random weights."""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification

from tidegate import files
from tidegate.errors import ModelError, ParamsError
from tidegate.model.checkpoints import Keeper
from tidegate.model.training import Classifier
from tidegate.params import bind
from tidegate.stages import train

LABELS = ["negative", "positive"]

PARAMS: dict[str, Any] = {
    "epochs": 3, "batch_size": 16, "accumulate": 1, "rounds": 1, "learning_rate": 0.01, "weight_decay": 0.01,
    "warmup": 0.1, "schedule": "linear", "clip": 1.0, "label_smoothing": 0.0, "class_weights": "none", "dropout": None,
    "metric": "macro_f1", "patience": None, "warm_start": None, "freeze": {"embeddings": False, "layers": 0},
    "lora": None, "augmentation": {"typing": 0.0, "deletion": 0.0, "swap": 0.0}, "accelerator": "cpu", "devices": 1,
    "nodes": 1, "strategy": "auto", "precision": "32-true", "seed": 3,
}  # fmt: skip


def pinned(folder: Path) -> str:
    return f"{folder}?sha256={files.digest_folder(folder)}"


class Stage:
    """Runs the stage into a folder of its own."""

    def __init__(self, inputs: Path, folder: Path) -> None:
        self.inputs, self.folder = inputs, folder
        self.encoder, self.tokens = inputs / "encoder", inputs / "tokens"
        self.partial = folder / "teacher.partial"

    def run(self, **changes: Any) -> dict[str, Any]:
        train.run(
            bind(train.Params, PARAMS | changes, section="train"), tokens=self.tokens, encoder=self.encoder,
            task=self.inputs / "task.json", teacher=self.folder / "teacher", training=self.folder / "training.json",
            curves=self.folder / "curves.csv", train_effort=self.folder / "train_effort.json",
        )  # fmt: skip
        report: dict[str, Any] = files.read_json(self.folder / "training.json")
        return report

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = load_file(self.folder / "teacher" / "model.safetensors")
        return found

    @property
    def curves(self) -> list[dict[str, str]]:
        with (self.folder / "curves.csv").open(encoding="utf-8") as stream:
            return list(csv.DictReader(stream))


@pytest.fixture
def stage(inputs: Path, tmp_path: Path) -> Stage:
    return Stage(inputs, tmp_path)


@pytest.fixture
def other(inputs: Path, tmp_path: Path) -> Stage:
    (tmp_path / "other").mkdir()
    return Stage(inputs, tmp_path / "other")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], within: float = 0.0) -> bool:
    return first.keys() == second.keys() and all(
        torch.allclose(first[name], second[name], rtol=0, atol=within) for name in first
    )


def test_the_teacher_learns_and_says_what_it_learned(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    report = stage.run(epochs=6)
    assert report["validation"]["accuracy"] > 0.9
    assert report["gap"]["accuracy"] == pytest.approx(report["train"]["accuracy"] - report["validation"]["accuracy"])
    assert (report["epochs"], report["steps"], report["rows"], report["stopped"]) == (6, 60, 150, "all epochs done")
    assert (report["device"], report["precision"]) == ("cpu", "32-true")
    assert report["trainable"] == report["parameters"] == sum(value.numel() for value in stage.weights.values())
    assert set(report["train"]) == set(report["validation"]) == {"loss", "accuracy", "macro_f1"}
    assert [row["epoch"] for row in stage.curves] == ["1", "2", "3", "4", "5", "6"]
    assert float(stage.curves[-1]["train_loss"]) < float(stage.curves[0]["train_loss"])
    shown = capsys.readouterr()
    assert "texts/s" in shown.out
    assert shown.err == ""


def test_transformers_loads_the_teacher_with_its_labels_and_its_tokenizer(stage: Stage) -> None:
    report = stage.run()
    folder = stage.folder / "teacher"
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.config.id2label == {0: "negative", 1: "positive"}
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = pl.read_parquet(stage.inputs / "validation.parquet")
    right = 0
    for text, label in zip(texts["text"], texts["label"], strict=True):
        logits = model(input_ids=torch.tensor([tokenizer.encode(text).ids])).logits
        right += LABELS[int(logits.argmax())] == label
    assert right / len(texts) == pytest.approx(report["validation"]["accuracy"])


def test_nothing_is_left_beside_the_outputs(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stage.folder)
    stage.run(epochs=1)
    left = sorted(path.name for path in stage.folder.iterdir())
    assert left == ["curves.csv", "teacher", "train_effort.json", "training.json"]
    assert not any(str(stage.folder) in path.read_text() for path in (stage.folder / "teacher").glob("*.json"))


def test_two_runs_give_the_same_weights_and_another_seed_others(stage: Stage, other: Stage) -> None:
    stage.run()
    other.run()
    assert files.digest_folder(stage.folder / "teacher") == files.digest_folder(other.folder / "teacher")
    assert (stage.folder / "curves.csv").read_bytes() == (other.folder / "curves.csv").read_bytes()
    other.run(seed=4)
    assert not same(stage.weights, other.weights, within=1e-3)


def test_dropout_is_on_in_training_and_off_in_validation(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[bool]] = {}

    def watched(name: str) -> Any:
        original = getattr(Classifier, name)

        def step(self: Classifier, batch: dict[str, torch.Tensor], index: int) -> Any:
            modes = {part.training for part in self.modules() if isinstance(part, torch.nn.Dropout)}
            seen[name] = seen.get(name, set()) | modes
            return original(self, batch, index)

        return step

    for name in ("training_step", "validation_step"):
        monkeypatch.setattr(Classifier, name, watched(name))
    stage.run(epochs=2)
    assert seen == {"training_step": {True}, "validation_step": {False}}


class Killed(BaseException):
    pass


def killed_after(count: int, stage: "Stage", **changes: Any) -> None:
    """Runs the stage up to the end of a round, where the process dies."""
    original = Keeper.on_train_epoch_end

    def then_die(self: Keeper, *arguments: Any) -> None:
        original(self, *arguments)
        if len(self.history) == count:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keeper, "on_train_epoch_end", then_die)
        with pytest.raises(Killed):
            stage.run(**changes)


@pytest.mark.parametrize("changes", [{}, {"rounds": 2, "accumulate": 2, "class_weights": "balanced"}])
def test_a_killed_run_goes_on_and_ends_where_an_uninterrupted_one_does(
    stage: Stage, other: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changes: Any
) -> None:
    changes = changes | {
        "metric": "loss",
        "learning_rate": 0.003,
        "augmentation": {"typing": 0.1, "deletion": 0.1, "swap": 0.1},
    }
    whole = other.run(**changes)
    killed_after(1, stage, **changes)
    assert not (stage.folder / "teacher").exists()
    capsys.readouterr()
    steps: list[int] = []
    original = Classifier.training_step
    with monkeypatch.context() as patch:
        patch.setattr(
            Classifier, "training_step", lambda self, *given: steps.append(self.global_step) or original(self, *given)
        )
        resumed = stage.run(**changes)
    assert "Going on" in capsys.readouterr().out
    assert min(steps) == 10 // changes.get("rounds", 1), "what was trained is not trained again"
    assert stage.curves == other.curves
    assert same(stage.weights, other.weights)
    assert resumed | {"seconds": 0} == whole | {"seconds": 0}
    assert resumed["seconds"] > 0
    assert not stage.partial.exists()
    parts = [files.read_json(one.folder / "train_effort.json")["parts"] for one in (other, stage)]
    assert parts == [1, 2], "the effort is that of both parts"


def test_a_run_killed_after_every_round_ends_there_too(stage: Stage, other: Stage) -> None:
    changes = {"epochs": 3, "rounds": 2, "metric": "loss", "learning_rate": 0.003}
    other.run(**changes)
    for count in range(1, 7):
        killed_after(count, stage, **changes)
    stage.run(**changes)
    assert stage.curves == other.curves
    assert same(stage.weights, other.weights)


def test_a_run_killed_after_its_last_round_does_not_train_again(
    stage: Stage, other: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    other.run()
    killed_after(3, stage)
    monkeypatch.setattr(Classifier, "training_step", lambda *given: 1 / 0)
    stage.run()
    assert same(stage.weights, other.weights)
    assert stage.curves == other.curves


def test_a_checkpoint_of_other_params_is_not_gone_on_with(
    stage: Stage, other: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    killed_after(1, stage, learning_rate=0.02)
    stage.run()
    other.run()
    assert "Going on" not in capsys.readouterr().out
    assert same(stage.weights, other.weights)


def test_it_stops_early_and_keeps_the_best_round(stage: Stage) -> None:
    report = stage.run(epochs=30, patience=2, metric="loss", learning_rate=0.05, schedule="constant")
    losses = [float(row["validation_loss"]) for row in stage.curves]
    assert report["stopped"] == "no better loss for 2 rounds"
    assert len(losses) == report["epochs"] < 30
    assert report["best_epoch"] == int(np.argmin(losses)) + 1
    assert report["validation"]["loss"] == pytest.approx(min(losses), rel=1e-4)


def test_a_run_killed_when_it_had_stopped_early_stays_stopped(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"epochs": 30, "patience": 1, "metric": "loss", "learning_rate": 0.05, "schedule": "constant"}
    whole = stage.run(**changes)
    shutil.rmtree(stage.folder / "teacher")
    killed_after(whole["epochs"], stage, **changes)
    assert stage.run(**changes)["epochs"] == whole["epochs"]


def test_parts_of_a_batch_give_what_the_whole_batch_gives(stage: Stage, other: Stage) -> None:
    common = {"dropout": 0.0, "epochs": 2, "class_weights": "balanced", "batch_size": 15, "label_smoothing": 0.1}
    stage.run(**common)
    other.run(**common, accumulate=4)
    assert same(stage.weights, other.weights, within=1e-4)


@pytest.mark.slow
def test_two_processes_give_what_one_gives(stage: Stage, other: Stage) -> None:
    common = {"dropout": 0.0, "epochs": 2, "batch_size": 15, "class_weights": "balanced"}
    single = stage.run(**common)
    double = other.run(**common, devices=2, strategy="ddp_spawn")
    assert same(stage.weights, other.weights, within=1e-4)
    for row, same_row in zip(stage.curves, other.curves, strict=True):
        assert {name: float(value) for name, value in row.items()} == pytest.approx(
            {name: float(value) for name, value in same_row.items()}, abs=1e-3
        )
    assert double["validation"]["accuracy"] == pytest.approx(single["validation"]["accuracy"], abs=1e-6)


def test_adapters_leave_the_rest_alone_and_are_merged(stage: Stage) -> None:
    lora = {"r": 4, "alpha": 8.0, "dropout": 0.1, "target_modules": ["query", "value"]}
    report = stage.run(lora=lora, epochs=8, learning_rate=0.03)
    assert report["trainable"] < report["parameters"] / 2
    before, after = load_file(stage.encoder / "model.safetensors"), stage.weights
    changed = {name for name, value in before.items() if not torch.equal(value, after[f"bert.{name}"])}
    assert {name.rsplit(".", 2)[-2] for name in changed} == {"query", "value"}
    assert not any("lora" in name or "base_layer" in name for name in after)
    model = AutoModelForSequenceClassification.from_pretrained(stage.folder / "teacher")
    assert sum(value.numel() for value in model.parameters()) == sum(value.numel() for value in after.values())


def test_frozen_parts_stay_as_they_were(stage: Stage) -> None:
    stage.run(freeze={"embeddings": True, "layers": 1}, epochs=1)
    before, after = load_file(stage.encoder / "model.safetensors"), stage.weights
    kept = {name for name, value in before.items() if torch.equal(value, after[f"bert.{name}"])}
    assert all(name in kept for name in before if name.startswith(("embeddings", "encoder.layer.0.")))
    assert not any(name in kept for name in before if name.startswith("encoder.layer.1.") and name.endswith("weight"))


def test_a_warm_start_begins_where_the_other_teacher_ended(stage: Stage, other: Stage) -> None:
    taught = stage.run(epochs=6)
    warm = other.run(warm_start=pinned(stage.folder / "teacher"), epochs=1, learning_rate=1e-6)
    assert warm["validation"]["accuracy"] == pytest.approx(taught["validation"]["accuracy"], abs=0.03)
    assert same(stage.weights, other.weights, within=1e-3)


def test_a_warm_start_of_other_labels_is_refused(stage: Stage, other: Stage) -> None:
    stage.run(epochs=1)
    config = files.read_json(stage.folder / "teacher" / "config.json")
    files.write_json(stage.folder / "teacher" / "config.json", config | {"id2label": {"0": "cat", "1": "dog"}})
    with pytest.raises(ModelError, match=r"knows the labels cat, dog, and the data has negative, positive"):
        other.run(warm_start=pinned(stage.folder / "teacher"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rate": -1.0}, "learning_rate: must be above 0"),
        ({"epochs": 0}, "epochs: must be at least 1"),
        ({"accumulate": 32}, "accumulate .32. is larger than batch_size"),
        ({"precision": "int8"}, "precision"),
        ({"lora": {"r": 0, "alpha": 1.0, "dropout": 0.0, "target_modules": ["query"]}}, r"lora\.r"),
    ],
)
def test_absurd_params_are_refused(stage: Stage, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ParamsError, match=words):
        stage.run(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rounds": 11}, "an epoch has 10 steps, fewer than `rounds`"),
        ({"freeze": {"embeddings": False, "layers": 3}}, "has 2 layers, of which 3 cannot be frozen"),
        ({"lora": {"r": 2, "alpha": 1.0, "dropout": 0.0, "target_modules": ["q_proj"]}}, "are called.*query"),
        ({"accelerator": "gpu"}, "train.accelerator"),
        ({"batch_size": 1, "devices": 2}, "cannot be split over 2 devices"),
    ],
)
def test_what_cannot_be_trained_is_said(stage: Stage, changes: dict[str, Any], words: str) -> None:
    if changes.get("accelerator") == "gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ModelError, match=words) as caught:
        stage.run(**changes)
    assert not caught.value.cause.endswith((".", "!"))
    assert not (stage.folder / "teacher").exists()


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (float("nan"), "the loss is no longer a finite number.*Lower `learning_rate`"),
        (torch.OutOfMemoryError("CUDA out of memory"), "the memory is full.*Raise `accumulate`"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "the memory is full"),
    ],
)
def test_a_training_that_breaks_says_what_to_do(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, failure: Any, words: str
) -> None:
    original = Classifier.logits

    def broken(self: Classifier, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        if isinstance(failure, Exception):
            raise failure
        return original(self, batch) * failure

    monkeypatch.setattr(Classifier, "logits", broken)
    with pytest.raises(ModelError, match=words):
        stage.run()
    assert not (stage.folder / "teacher").exists()


def test_live_curves_follow_the_training_and_may_fail(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[str, dict[str, float], int]] = []

    def live(task: str, name: str) -> Any:
        return lambda figures, step: seen.append((task, figures, step))

    monkeypatch.setenv("TIDEGATE_LIVE", "tidegate.registry:live")
    monkeypatch.setattr("tidegate.registry.live", live)
    stage.run(epochs=2)
    assert {task for task, _, _ in seen} == {"films"}
    assert [step for _, figures, step in seen if "validation_macro_f1" in figures] == [10, 20]
    assert any("batch_loss" in figures for _, figures, _ in seen)

    monkeypatch.setattr("tidegate.registry.live", lambda *given: 1 / 0)
    stage.run(epochs=1)
    assert "Live curves are off: ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "", '{"version": "1.0", "model"'])
def test_a_damaged_tokenizer_is_found_before_anything_is_fitted(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    stage.encoder = Path(shutil.copytree(stage.encoder, tmp_path / "encoder"))
    (stage.encoder / "tokenizer.json").unlink()
    if content is not None:
        (stage.encoder / "tokenizer.json").write_text(content)
    monkeypatch.setattr(Classifier, "training_step", lambda *given: 1 / 0)
    with pytest.raises(
        ModelError, match=r"tokenizer\.json: is missing or damaged .*Run `dvc repro`, which makes it anew"
    ):
        stage.run()
    assert not stage.partial.exists()
