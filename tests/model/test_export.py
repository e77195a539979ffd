"""Export: the package answers as the torch model does, and equal weights give equal bytes."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification

from tidegate import files, text
from tidegate.errors import ModelError
from tidegate.model import export
from tidegate.package import Package, softmax

TASK = {"task": "channels", "labels": ["negative", "neutral", "positive"], "slices": ["channel"]}
NORMALIZATION = {"mend_unicode": True, "strip_markup": True, "mask": ["url"], "max_characters": 5_000}
RAW = [
    "", "   ", "good", "A <b>very</b> GOOD film!", "bad\u00a0film &amp; worse", "ﬁne ﬁlm\u200b", "see https://a.example/x?y=1",
    "the film is " * 100, "日本語の文", "😀😀 bad", "it\u2019s  fine\n\n\tbook", "\x00good\x00",
]  # fmt: skip


def make_teacher(folder: Path, *, seed: int = 0, max_length: int | None = 24) -> Path:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "fine", "film", "book", "the", "is", "very"]
    words += [*".!&'[]", "url", *"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz")]
    made = Tokenizer(models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    torch.manual_seed(seed)
    labels = dict(enumerate(TASK["labels"]))
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=64, id2label=labels, label2id={label: n for n, label in labels.items()},
        initializer_range=0.5,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    if max_length:
        made.enable_truncation(max_length)
    made.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_teacher(tmp_path_factory.mktemp("trained") / "teacher")


@pytest.fixture(scope="module")
def classifier(teacher: Path) -> export.Classifier:
    return export.load(teacher, labels=TASK["labels"])


@pytest.fixture(scope="module")
def folder(classifier: export.Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("packages") / "teacher", classifier)


def written(folder: Path, classifier: export.Classifier) -> Path:
    export.write_package(folder, classifier, name="teacher", task=TASK, normalization=NORMALIZATION, opset=20)
    return folder


def test_raw_texts_give_in_the_package_what_they_give_in_the_training_path(teacher: Path, folder: Path) -> None:
    options = text.Normalization.from_json(NORMALIZATION)
    tokenizer = Tokenizer.from_file(str(teacher / "tokenizer.json"))
    model = BertForSequenceClassification.from_pretrained(teacher).eval()
    package, expected = Package.load(folder), []
    for raw in RAW:
        tokens = torch.tensor([tokenizer.encode(text.normalize(raw, options)).ids])
        with torch.inference_mode():
            expected.append(torch.softmax(model(tokens).logits[0].double(), dim=0).numpy())
    for batch_size in (1, 5, 32):
        np.testing.assert_allclose(package.predict(RAW, batch_size=batch_size), expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.1, "the texts are too alike to show a difference"


def test_parity_is_close_to_zero_and_keeps_every_label(classifier: export.Classifier, folder: Path) -> None:
    found = export.parity(classifier, Package.load(folder), RAW, normalization=NORMALIZATION)
    assert found["rows"] == len(RAW)
    assert found["max_logit_difference"] < 1e-4
    assert found["labels_kept"] == 1


def test_parity_sees_a_package_of_other_weights(teacher: Path, folder: Path, tmp_path: Path) -> None:
    other = export.load(make_teacher(tmp_path / "other", seed=1), labels=TASK["labels"])
    found = export.parity(other, Package.load(folder), RAW, normalization=NORMALIZATION)
    assert found["max_logit_difference"] > 0.1
    assert found["labels_kept"] < 1


def test_equal_weights_give_equal_bytes(teacher: Path, folder: Path, tmp_path: Path) -> None:
    again = written(tmp_path / "again", export.load(teacher, labels=TASK["labels"]))
    assert files.digest_folder(again) == files.digest_folder(folder)


def test_the_graph_carries_no_paths_no_docs_and_no_inner_shapes(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    assert not model.graph.value_info
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert not re.findall(rb"/(?:home|usr|root|tmp|opt)/|\.py\b", (folder / "model.onnx").read_bytes())
    onnx.checker.check_model(model, full_check=True)


def test_batch_and_length_may_be_of_any_size(folder: Path) -> None:
    graph = onnx.load(folder / "model.onnx").graph
    shapes = {node.name: [d.dim_param or d.dim_value for d in node.type.tensor_type.shape.dim] for node in
              (*graph.input, *graph.output)}  # fmt: skip
    assert shapes == {
        "input_ids": ["batch", "length"], "attention_mask": ["batch", "length"], "logits": ["batch", 3]
    }  # fmt: skip


def test_texts_are_cut_where_the_tokenizer_says(folder: Path) -> None:
    package = Package.load(folder)
    assert package.metadata["max_length"] == 24
    assert len(package.encode(["film " * 99])[0]) == 24


@pytest.mark.parametrize(("cut", "expected"), [(16, 16), (999, 64), (None, 64)])
def test_texts_are_cut_as_in_training_and_never_longer_than_the_model_takes(
    cut: int | None, expected: int, tmp_path: Path
) -> None:
    assert export.load(make_teacher(tmp_path / "teacher", max_length=cut), labels=TASK["labels"]).max_length == expected


def test_the_model_is_exported_without_dropout(teacher: Path) -> None:
    assert not export.load(teacher, labels=TASK["labels"]).model.training


def test_other_labels_than_the_tasks_are_refused(teacher: Path) -> None:
    with pytest.raises(ModelError, match="knows the labels"):
        export.load(teacher, labels=["positive", "neutral", "negative"])


@pytest.mark.parametrize("damage", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_teacher_is_a_model_error(damage: str, tmp_path: Path) -> None:
    folder = make_teacher(tmp_path / "teacher")
    (folder / damage).write_bytes((folder / damage).read_bytes()[:40])
    with pytest.raises(ModelError, match=r"(damaged|cannot be read).*Run `dvc repro`, which makes it anew"):
        export.load(folder, labels=TASK["labels"])


def test_a_model_above_two_gigabytes_is_refused_before_it_is_exported(
    classifier: export.Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_LARGEST", 1000)
    with pytest.raises(ModelError, match="one ONNX file holds 1,000"):
        export.to_onnx(classifier.model, opset=20)


def test_probabilities_are_a_softmax_of_the_logits(folder: Path) -> None:
    package: Any = Package.load(folder)
    np.testing.assert_allclose(package.predict(RAW), softmax(package.logits(RAW)))
