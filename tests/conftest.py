"""A tiny package for every test that needs one: a bag of words, made without torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NORMALIZATION = {"mend_unicode": True, "strip_markup": True, "mask": ["url", "email"], "max_characters": 5_000}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "fine", "film", "book", "the", "is", "very", "!", "."]


@pytest.fixture
def package_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a package whose logits are the sums of its words' weights: `good` is positive, `bad` negative."""

    def make(
        folder: Path | None = None, *, labels: tuple[str, ...] = ("negative", "neutral", "positive"), seed: int = 0,
        **metadata: Any,
    ) -> Path:  # fmt: skip
        from tidegate import package

        folder = folder or tmp_path / "packages" / metadata.get("name", "teacher")
        model, tokenizer = tmp_path / "made.onnx", tmp_path / "made.json"
        _bag_of_words(model, len(labels), seed)
        _word_pieces(tokenizer)
        content: dict[str, Any] = {
            "task": "channels", "name": "teacher", "labels": list(labels), "slices": ["channel"],
            "max_length": 16, "temperature": 1.0, "normalization": NORMALIZATION,
        }  # fmt: skip
        package.write(folder, model=model, tokenizer=tokenizer, metadata=content | metadata)
        return folder

    return make


def _bag_of_words(path: Path, labels: int, seed: int) -> None:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = 0.1 * np.random.default_rng(seed).normal(size=(len(WORDS), labels)).astype(np.float32)
    weights[WORDS.index("good"), -1] += 2
    weights[WORDS.index("bad"), 0] += 2
    shape = ["batch", "length"]
    nodes = [
        helper.make_node("Gather", ["weights", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["words", "column"], ["seen"]),
        helper.make_node("ReduceSum", ["seen", "middle"], ["logits"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes, "bag",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", labels])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([2]), "last"),
            numpy_helper.from_array(np.array([1]), "middle"),
        ],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


def _word_pieces(path: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    made = Tokenizer(models.WordPiece({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", WORDS.index("[CLS]")), ("[SEP]", WORDS.index("[SEP]"))]
    )
    made.enable_padding()
    made.save(str(path))
