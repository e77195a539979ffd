"""A torch classifier becomes `model.onnx`, and its package is proven to give what the classifier gave.

The graph is plain ONNX: what a CPU can do beyond it is left to the runtime, which optimizes at load time (0.2 s), so
that one package serves on every machine. Packages themselves are `package`'s matter.
"""

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tidegate import package, text
from tidegate.errors import ModelError
from tidegate.package import Package

_LARGEST = 2_000_000_000  # bytes of one protobuf message
_RETRAIN = "Run `dvc repro`, which makes it anew"


@dataclass(frozen=True)
class Classifier:
    """A trained `transformers` sequence classifier in float32 on the CPU, in eval mode, and its tokenizer."""

    model: Any
    tokenizer: Any
    max_length: int
    """Tokens a text, special tokens included; longer texts are cut."""

    def logits(self, texts: Sequence[str], *, batch_size: int = 32) -> NDArray[np.float64]:
        """Logits (n, k) of normalized texts (n,), by torch, in the order given, padded to the batch."""
        found = []
        for start in range(0, len(texts), batch_size):
            batch = self.tokenizer(
                list(texts[start : start + batch_size]), padding=True, truncation=True, max_length=self.max_length,
                return_tensors="pt",
            )  # fmt: skip
            with torch.inference_mode():
                given = self.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            found.append(given.double().numpy())
        return np.concatenate(found)


def load(folder: Path, *, labels: Sequence[str]) -> Classifier:
    """Loads a trained classifier.

    Raises:
        ModelError: the folder is incomplete or damaged, or the classifier was trained for other labels.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        # Eager attention exports to a third fewer nodes than the fused one, and runs as fast or faster.
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, attn_implementation="eager"
        ).eval()
    except Exception as error:  # transformers raises OSError, ValueError, KeyError, safetensors its own
        cause = f"cannot be loaded as a sequence classifier ({' '.join(str(error).split())[:300]})"
        raise ModelError(str(folder), cause, _RETRAIN) from error
    known = tuple(model.config.id2label[index] for index in range(model.config.num_labels))
    if known != tuple(labels):
        raise ModelError(str(folder), f"was trained for the labels {known}, the task has {tuple(labels)}", _RETRAIN)
    return Classifier(model, tokenizer, _max_length(folder, model.config, tokenizer))


def _max_length(folder: Path, config: Any, tokenizer: Any) -> int:
    """What training cut texts at: `tokenizer.json` says it, else the tokenizer's or the model's own bound."""
    truncation = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")).get("truncation") or {}
    positions = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    return int(min(truncation.get("max_length", positions), tokenizer.model_max_length, positions))


def write_package(
    folder: Path, classifier: Classifier, *, name: str, task: dict[str, Any], normalization: dict[str, Any], opset: int
) -> None:
    """Writes a classifier as a package; equal weights give equal bytes.

    Args:
        task: the content of `task.json`.
        normalization: the options of `text.normalize`.

    Raises:
        ModelError: the model cannot be written as one ONNX file.
    """
    metadata = {
        "task": task["task"], "name": name, "labels": task["labels"], "slices": task["slices"],
        "max_length": classifier.max_length, "temperature": 1.0, "normalization": normalization,
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="tidegate-") as drafts:
        model, tokenizer = Path(drafts) / "model.onnx", Path(drafts) / "tokenizer.json"
        onnx.save(to_onnx(classifier.model, opset=opset), model)
        _cut_and_padded(classifier).save(str(tokenizer))
        package.write(folder, model=model, tokenizer=tokenizer, metadata=metadata)


def _cut_and_padded(classifier: Classifier) -> Tokenizer:
    """A copy of the tokenizer that says itself where texts are cut and what they are padded with."""
    tokenizer = Tokenizer.from_str(classifier.tokenizer.backend_tokenizer.to_str())
    tokenizer.enable_truncation(classifier.max_length)
    tokenizer.enable_padding(pad_id=classifier.tokenizer.pad_token_id, pad_token=classifier.tokenizer.pad_token)
    return tokenizer


def to_onnx(model: torch.nn.Module, *, opset: int) -> onnx.ModelProto:
    """The graph from `input_ids` and `attention_mask` to `logits`; batch and length may be of any size.

    Raises:
        ModelError: the weights exceed the 2 GB that one ONNX file can hold.
    """
    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    if size > _LARGEST:
        cause = f"its weights take {size:,} bytes, one ONNX file holds {_LARGEST:,}"
        raise ModelError("the trained model", cause, "Train a smaller encoder")
    ids = torch.ones((2, 8), dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    with _without_chatter():
        program = torch.onnx.export(
            _LogitsAlone(model).eval(), (ids, mask), dynamo=True, opset_version=opset, verbose=False,
            input_names=["input_ids", "attention_mask"], output_names=["logits"],
            dynamic_shapes={"input_ids": axes, "attention_mask": axes},
        )  # fmt: skip
    if program is None:  # only where a path is given
        raise ModelError("the trained model", "was not exported", _RETRAIN)
    return _bare(program.model_proto)


class _LogitsAlone(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


@contextmanager
def _without_chatter() -> Iterator[None]:
    """The exporter warns of a missing torchvision and of its own axis names."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Takes out what the graph does not need: stack traces with paths, docs, the exporter's version, inner shapes.

    So the bytes depend on the weights alone. (Inner shapes also make `quantize_dynamic` fail.)
    """
    model.producer_name, model.producer_version, model.doc_string = "tidegate", "", ""
    graph = model.graph
    graph.doc_string = ""
    del graph.value_info[:]
    parts = [model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *model.functions]
    for part in parts:
        part.doc_string = ""
        del part.metadata_props[:]
    return model


def parity(classifier: Classifier, candidate: Package, texts: Sequence[str], *, normalization: dict[str, Any]) -> Any:
    """How far the package, given raw texts, is from the training path: normalize, tokenize, torch.

    The package is asked one by one and in batches of 32, so that no text depends on its neighbours' padding.

    Returns:
        The entry of `parity.json`: `rows`, `max_logit_difference`, `labels_kept`.
    """
    options = text.Normalization.from_json(normalization)
    expected = classifier.logits([text.normalize(raw, options) for raw in texts])
    given = [candidate.logits(texts, batch_size=size) for size in (1, 32)]
    kept = [logits.argmax(axis=1) == expected.argmax(axis=1) for logits in given]
    return {
        "rows": len(texts),
        "max_logit_difference": float(max(np.abs(logits - expected).max() for logits in given)),
        "labels_kept": float(np.mean(kept)),
    }
