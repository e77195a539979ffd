"""Stage quantize: every package with a temperature, int8 ones beside them, and what each of them lost."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
import torch
from onnx import numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification

from tidegate import files, params
from tidegate.errors import DataError, ModelError, PackageError, ParamsError
from tidegate.model import export, simplification
from tidegate.package import Package
from tidegate.stages import quantize

LABELS = ["negative", "neutral", "positive"]
TASK = {"task": "channels", "labels": LABELS, "slices": []}
NORMALIZATION = {"mend_unicode": True, "strip_markup": True, "mask": [], "max_characters": 5_000}
WORDS = [f"w{n}" for n in range(300)]
PARAMS = quantize.Params(
    candidates=[
        quantize.Candidate(name="int8", of="teacher", activations="static"),
        quantize.Candidate(name="moving", of="teacher", activations="dynamic"),
    ],
    simplify=True, tolerance=0.001, calibration_rows=60,
    calibration_method="minmax", percentile=99.99, equalization=0.5, flip_rows=40, replicates=200, seed=1,
)  # fmt: skip


def make_package(folder: Path) -> Path:
    torch.manual_seed(0)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=128, num_hidden_layers=1, num_attention_heads=4, num_labels=3,
        intermediate_size=128, max_position_embeddings=32, initializer_range=0.3,
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    model.set_attn_implementation("eager")
    export.write_package(
        folder, export.Classifier(model, tokenizer, 32), name=folder.name, task=TASK, normalization=NORMALIZATION,
        opset=20,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "exported"
    make_package(folder / "teacher")
    return folder


@pytest.fixture
def artifacts(exported: Path, tmp_path: Path) -> dict[str, Path]:
    random = np.random.default_rng(3)
    texts = [" ".join(random.choice(WORDS, size=random.integers(1, 25))) for _ in range(120)]
    frame = pl.DataFrame(
        {"id": [f"{n}" for n in range(120)], "text": texts, "group": [f"{n // 2}" for n in range(120)]}
    )
    frame = frame.with_columns(pl.Series("label", random.choice(LABELS, size=120)))
    frame[:60].write_parquet(tmp_path / "train.parquet")
    frame[60:].write_parquet(tmp_path / "validation.parquet")
    (tmp_path / "task.json").write_text(json.dumps(TASK))
    return {
        "exported": exported, "train": tmp_path / "train.parquet", "validation": tmp_path / "validation.parquet",
        "task": tmp_path / "task.json", "packages": tmp_path / "packages",
        "quantization": tmp_path / "quantization.json",
    }  # fmt: skip


@pytest.fixture
def made(artifacts: dict[str, Path]) -> dict[str, Path]:
    quantize.run(PARAMS, **artifacts)
    return artifacts


def test_every_exported_package_and_every_candidate_is_there_and_answers(made: dict[str, Path]) -> None:
    assert sorted(folder.name for folder in made["packages"].iterdir()) == ["int8", "moving", "teacher"]
    for folder in made["packages"].iterdir():
        package = Package.load(folder)
        assert package.name == folder.name
        assert package.predict(["w1 w2 w3", ""]).shape == (2, 3)


def test_the_report_says_what_each_package_lost(made: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(made["quantization"].read_text())
    assert {name: (entry["of"], entry["activations"]) for name, entry in found.items()} == {
        "teacher": ("teacher", None), "int8": ("teacher", "static"), "moving": ("teacher", "dynamic")
    }  # fmt: skip
    assert found["teacher"]["labels_kept"] == 1
    assert found["teacher"]["simplified"] == {"embeddings": 1, "attentions": 1, "first_tokens": 1}
    assert found["teacher"]["logit_difference"]["max"] < 1e-4
    for name in ("int8", "moving"):
        assert 0.8 <= found[name]["labels_kept"] <= 1
        assert 0 < found[name]["logit_difference"]["mean"] < found[name]["logit_difference"]["max"] < 1
        assert found[name]["bytes"] < 0.6 * found["teacher"]["bytes"]
    assert found["int8"]["flips"] == found["teacher"]["flips"] == 0


def test_each_package_carries_the_temperature_that_its_own_logits_ask_for(made: dict[str, Path]) -> None:
    found = json.loads(made["quantization"].read_text())
    for name, entry in found.items():
        package = Package.load(made["packages"] / name)
        assert package.metadata["temperature"] == entry["temperature"] > 1.5, "the labels are noise"
        assert entry["after"]["log_loss"]["value"] < entry["before"]["log_loss"]["value"]
        assert np.ptp(package.predict(["w5 w6"])) < 1
    assert found["int8"]["temperature"] != found["teacher"]["temperature"]


def test_graphs_are_simplified_only_if_asked(artifacts: dict[str, Path]) -> None:
    quantize.run(replace(PARAMS, simplify=False), **artifacts)
    exported, written = (folder / "teacher" / "model.onnx" for folder in (artifacts["exported"], artifacts["packages"]))
    assert written.read_bytes() == exported.read_bytes()
    quantize.run(PARAMS, **artifacts)
    assert len(onnx.load(written).graph.node) < len(onnx.load(exported).graph.node)
    assert json.loads(artifacts["quantization"].read_text())["int8"]["of"] == "teacher"


def test_a_simplified_graph_that_answers_otherwise_stops_the_stage(
    artifacts: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = simplification.simplified

    def broken(model: onnx.ModelProto, **options: int) -> object:
        graph, found = whole(model, **options)
        bias = next(one for one in graph.graph.initializer if list(one.dims) == [128])
        bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 0.1, bias.name))
        return graph, found

    monkeypatch.setattr(simplification, "simplified", broken)
    with pytest.raises(ModelError, match=r"teacher: simplified, its logits differ.*Set quantize\.simplify to false"):
        quantize.run(PARAMS, **artifacts)
    assert not artifacts["packages"].exists()


def test_the_exported_packages_stay_as_they_are(exported: Path, artifacts: dict[str, Path]) -> None:
    before = files.digest_folder(exported)
    quantize.run(PARAMS, **artifacts)
    assert files.digest_folder(exported) == before


def test_two_runs_give_the_same_bytes(made: dict[str, Path], tmp_path: Path) -> None:
    again = {**made, "packages": tmp_path / "again", "quantization": tmp_path / "again.json"}
    quantize.run(PARAMS, **again)
    assert files.digest_folder(again["packages"]) == files.digest_folder(made["packages"])
    assert again["quantization"].read_bytes() == made["quantization"].read_bytes()


def test_fixed_scales_come_from_training_texts_alone(artifacts: dict[str, Path], tmp_path: Path) -> None:
    only = replace(PARAMS, candidates=[one for one in PARAMS.candidates if one.name == "int8"], calibration_rows=3)
    quantize.run(only, **artifacts)
    first = (artifacts["packages"] / "int8" / "model.onnx").read_bytes()
    pl.read_parquet(artifacts["validation"])[:7].write_parquet(artifacts["validation"])
    quantize.run(only, **artifacts)
    assert (artifacts["packages"] / "int8" / "model.onnx").read_bytes() == first
    pl.read_parquet(artifacts["train"]).reverse().write_parquet(artifacts["train"])
    quantize.run(only, **artifacts)
    assert (artifacts["packages"] / "int8" / "model.onnx").read_bytes() != first


@pytest.mark.parametrize(
    ("name", "of", "words"),
    [
        ("int8", "student", r"'int8' is of 'student', which is no exported package; there are: teacher"),
        ("teacher", "teacher", r"an exported package is called 'teacher' too"),
    ],
)
def test_a_candidate_that_cannot_be_made_is_refused_before_anything_is_written(
    artifacts: dict[str, Path], name: str, of: str, words: str
) -> None:
    wrong = replace(PARAMS, candidates=[quantize.Candidate(name=name, of=of, activations="static")])
    with pytest.raises(ParamsError, match=words):
        quantize.run(wrong, **artifacts)
    assert not artifacts["packages"].exists()
    assert not artifacts["quantization"].exists()


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "", "a b"])
def test_a_name_that_can_be_no_folders_is_refused(name: str) -> None:
    raw = {
        "candidates": [{"name": name, "of": "teacher", "activations": "static"}], "simplify": True, "tolerance": 0.001,
        "calibration_rows": 1, "calibration_method": "minmax", "percentile": 99,
        "equalization": None, "flip_rows": 1, "replicates": 200, "seed": 1,
    }  # fmt: skip
    with pytest.raises(ParamsError, match="a name is made of letters, digits and underscores"):
        params.bind(quantize.Params, raw, section="quantize")


def test_a_graph_without_matrix_products_is_refused_and_nothing_is_written(
    artifacts: dict[str, Path], package_folder, tmp_path: Path
) -> None:
    package_folder(tmp_path / "exported" / "teacher")
    artifacts |= {"exported": tmp_path / "exported"}
    with pytest.raises(ModelError, match=r"no matrix product.*Take int8 out of quantize\.candidates"):
        quantize.run(PARAMS, **artifacts)
    assert not artifacts["packages"].exists()


def test_without_an_exported_package_the_stage_says_so(artifacts: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="holds no package"):
        quantize.run(PARAMS, **{**artifacts, "exported": tmp_path / "nowhere"})


def test_without_validation_rows_the_stage_says_so(artifacts: dict[str, Path]) -> None:
    pl.read_parquet(artifacts["validation"])[:0].write_parquet(artifacts["validation"])
    with pytest.raises(DataError, match="holds no rows"):
        quantize.run(PARAMS, **artifacts)


def test_a_failure_half_way_leaves_what_was_there(made: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    before = files.digest_folder(made["packages"]), made["quantization"].read_bytes()
    monkeypatch.setattr(quantize, "_judged", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        quantize.run(PARAMS, **made)
    assert (files.digest_folder(made["packages"]), made["quantization"].read_bytes()) == before


def test_the_graphs_are_valid(made: dict[str, Path]) -> None:
    for folder in made["packages"].iterdir():
        onnx.checker.check_model(onnx.load(folder / "model.onnx"))
