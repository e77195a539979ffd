"""A torch classifier becomes `model.onnx`, and its package is proven to give what the classifier gave.

The graph is plain ONNX: what a CPU can do beyond it is left to the runtime, which optimizes at load time (0.2 s), so
that one package serves on every machine. Packages themselves are `package`'s matter.
"""

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
from transformers import PreTrainedModel

from tidegate import package, text
from tidegate.errors import ModelError
from tidegate.model import encoder
from tidegate.package import Package

_LARGEST = 2_000_000_000  # bytes of one protobuf message


@dataclass(frozen=True)
class Classifier:
    """A trained sequence classifier in float32 on the CPU, in eval mode, and the tokenizer that it was trained with."""

    model: PreTrainedModel
    tokenizer: Tokenizer
    """Cuts and pads."""
    max_length: int
    """Tokens a text, special tokens included; longer texts are cut."""

    def logits(self, texts: Sequence[str], *, batch_size: int = 32) -> NDArray[np.float64]:
        """Logits (n, k) of normalized texts (n,), by torch, in the order given, padded to the batch."""
        found = []
        for start in range(0, len(texts), batch_size):
            encodings = self.tokenizer.encode_batch(list(texts[start : start + batch_size]))
            ids = torch.tensor([encoding.ids for encoding in encodings])
            mask = torch.tensor([encoding.attention_mask for encoding in encodings])
            with torch.inference_mode():
                found.append(self.model(input_ids=ids, attention_mask=mask).logits.double().numpy())
        return np.concatenate(found)


def load(folder: Path, *, labels: Sequence[str]) -> Classifier:
    """Loads a trained classifier.

    Raises:
        ModelError: the folder is incomplete or damaged, or the classifier was trained for other labels.
    """
    model = encoder.load(folder, labels, trained=True)
    # Eager attention exports to a third fewer nodes than the fused one, and runs as fast.
    model.set_attn_implementation("eager")
    tokenizer = encoder.tokenizer(folder)
    tokenizer.encode_special_tokens = True  # as the package does
    max_length = _max_length(folder, tokenizer)
    pad_id = model.config.pad_token_id or 0
    tokenizer.enable_truncation(max_length)
    tokenizer.enable_padding(pad_id=pad_id, pad_token=tokenizer.id_to_token(pad_id))
    return Classifier(model, tokenizer, max_length)


def _max_length(folder: Path, tokenizer: Tokenizer) -> int:
    """What `tokenizer.json` cuts at, as training did; never more than the model takes."""
    cut = (tokenizer.truncation or {}).get("max_length")
    most = encoder.positions(encoder.configuration(folder))
    if cut is None and most is None:
        cause = "does not say at how many tokens texts are cut"
        raise ModelError(str(folder / "tokenizer.json"), cause, "Save it with truncation, as `tokenize` does")
    return min(bound for bound in (cut, most) if bound is not None)


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
        classifier.tokenizer.save(str(tokenizer))
        package.write(folder, model=model, tokenizer=tokenizer, metadata=metadata)


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
        raise ModelError("the trained model", "was not exported", "Try another export.opset")
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
