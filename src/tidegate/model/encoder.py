"""Encoder folders: what belongs in one, and how one becomes a sequence classifier.

Weights come as safetensors only: a pickle runs code when it is read. What of it is trained is in `freezing`.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils import logging as transformers_logging

from tidegate import files
from tidegate.errors import ModelError
from tidegate.model import anatomy

_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt",
    "vocab.json", "merges.txt",
)  # fmt: skip
_WEIGHTS = ("*.safetensors", "model.safetensors.index.json")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_BATCH = 10_000  # texts encoded at once
_HEAD = ("classifier", "pre_classifier", "score", "pooler", "dense", "head")
_DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "dropout", "attention_dropout",
    "seq_classif_dropout", "hidden_dropout", "embedding_dropout", "mlp_dropout", "pooler_dropout",
)  # fmt: skip
_OFFSET = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "xlm-roberta-xl", "data2vec-text")


_ANEW = "Run `dvc repro`, which makes it anew"
_OTHER = "Give a BERT-like encoder with its weights as safetensors"


def check(folder: Path) -> None:
    """Holds that a folder has what an encoder needs: configuration, fast tokenizer, weights as safetensors.

    Raises:
        ModelError: something is missing, or the weights are pickles.
    """
    if not folder.is_dir():
        raise ModelError(str(folder), "is no folder of an encoder", "Give the address of a transformers model folder")
    for name, remedy in (
        ("config.json", "Save the model with `save_pretrained`"),
        ("tokenizer.json", "Save a fast tokenizer there: AutoTokenizer.from_pretrained(…).save_pretrained(…)"),
    ):
        if not (folder / name).is_file():
            raise ModelError(str(folder), f"has no {name}", remedy)
    if any(folder.glob("*.safetensors")):
        return
    found = next((file.name for pattern in _PICKLES for file in sorted(folder.glob(pattern))), None)
    cause = f"has its weights as a pickle ({found}), which runs code when read" if found else "has no model.safetensors"
    raise ModelError(str(folder), cause, "Save them with `save_pretrained(…, safe_serialization=True)`")


def copy(source: Path, target: Path) -> None:
    """Copies what an encoder needs and nothing else (no pickles, no code).

    Raises:
        ModelError: the source is no encoder.
    """
    check(source)
    target.mkdir(parents=True, exist_ok=True)
    weights = [file for pattern in _WEIGHTS for file in source.glob(pattern)]
    for file in (source / "config.json", *weights):
        shutil.copyfile(file, target / file.name)
    copy_tokenizer(source, target)


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copies the files of a tokenizer, those that are there."""
    for name in _TOKENIZER:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def save(model: PreTrainedModel, folder: Path, *, tokenizer_of: Path) -> None:
    """Writes a trained classifier with the tokenizer that stands in another folder, whole or not at all."""
    with files.replacing(folder) as draft:
        model.eval().to("cpu").save_pretrained(draft)  # type: ignore[no-untyped-call]
        copy_tokenizer(tokenizer_of, draft)
        for file in files.walk(draft):
            file.chmod(0o644)  # safetensors writes for the owner alone


def tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a folder that a stage made.

    Raises:
        ModelError: it is missing or damaged.
    """
    path = folder / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise ModelError(str(path), f"is missing or damaged ({first_line(error)})", _ANEW) from None


def texts(path: Path) -> Iterator[list[str]]:
    """The column `text` of a Parquet file, a batch at a time, always the same batches."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH, columns=["text"]):
            yield batch["text"].to_pylist()


def encoded(folder: Path, sources: Iterable[Path]) -> list[NDArray[np.int32]]:
    """The ids of the texts of some Parquet files, one file after the other, as the tokenizer in `folder` gives them."""
    tokens = tokenizer(folder)
    tokens.encode_special_tokens = True  # a "[SEP]" that somebody typed is text, no separator
    return [
        np.asarray(encoding.ids, dtype=np.int32)
        for source in sources
        for batch in texts(source)
        for encoding in tokens.encode_batch_fast(batch)
    ]


def configuration(folder: Path) -> dict[str, Any]:
    """The model's `config.json`.

    Raises:
        ModelError: it is damaged.
    """
    try:
        found: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        remedy = f"{_ANEW}, or give another encoder"
        raise ModelError(str(folder / "config.json"), f"is damaged ({error})", remedy) from None
    return found


def positions(config: Mapping[str, Any]) -> int | None:
    """How many tokens a text may have; None where the model sets no bound."""
    most = config.get("max_position_embeddings")
    if most is None:
        return None
    padded = config.get("model_type") in _OFFSET  # these number their positions from after the padding's
    return int(most) - (int(config.get("pad_token_id") or 0) + 1 if padded else 0)


def position_rows(config: Any, folder: Path) -> int:
    """How many rows of the table of positions are reached by texts that the tokenizer in `folder` has cut."""
    most = int(config.max_position_embeddings)
    longest = (tokenizer(folder).truncation or {}).get("max_length", most)
    return min(most, int(longest) + most - (positions(config.to_dict()) or most))


def load(
    folder: Path, labels: Sequence[str], *, dropout: float | None = None, trained: bool = False
) -> PreTrainedModel:
    """A float32 sequence classifier in eval mode on the CPU; call `train()` before training it.

    Args:
        folder: an encoder, or (`trained`) a classifier whose head is kept.
        labels: in the order of the logits.
        dropout: replaces every dropout probability of the configuration; None keeps them.

    Raises:
        ModelError: the folder does not hold such a model.
    """
    check(folder)
    if trained:
        _check_labels(folder, labels)
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # its report of missing keys is judged below
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        config = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, num_labels=len(labels),
            id2label=dict(enumerate(labels)), label2id={label: index for index, label in enumerate(labels)},
        )  # fmt: skip
        config.problem_type = "single_label_classification"
        _set_dropout(config, dropout)
        model, missing = _with_weights(folder, config)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        cause = f"cannot be read as a sequence classifier ({first_line(error)})"
        remedy = f"{_ANEW}, or correct `train.warm_start` where it comes from there" if trained else _OTHER
        raise ModelError(str(folder), cause, remedy) from error
    _check_missing(folder, missing, trained=trained)
    return model


def _with_weights(folder: Path, config: Any) -> tuple[PreTrainedModel, Iterable[str]]:
    """The model, and which weights of its configuration the folder lacks."""
    if hasattr(config, anatomy.KEPT_HEADS):  # of shapes that the library does not know
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
        anatomy.refit(model)
        found = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
        model.eval()  # type: ignore[no-untyped-call]
        return model, found.missing_keys
    model, report = AutoModelForSequenceClassification.from_pretrained(
        folder, config=config, local_files_only=True, trust_remote_code=False, use_safetensors=True,
        dtype=torch.float32, output_loading_info=True,
    )  # fmt: skip
    return model, report["missing_keys"]


def check_vocabulary(folder: Path, encoder: Path) -> None:
    """Holds that two folders turn a text into the same ids.

    Raises:
        ModelError: their tokenizers differ, or one is damaged.
    """
    try:
        first, second = (
            json.loads((path / "tokenizer.json").read_text(encoding="utf-8")) for path in (folder, encoder)
        )
    except ValueError as error:
        raise ModelError(str(folder), f"has a damaged tokenizer.json ({error})", "Give another model") from None
    if any(first.get(part) != second.get(part) for part in ("model", "normalizer", "pre_tokenizer", "post_processor")):
        cause = f"has another tokenizer than {encoder}"
        raise ModelError(str(folder), cause, "Start from a model trained on the same encoder")


def _check_labels(folder: Path, labels: Sequence[str]) -> None:
    names = configuration(folder).get("id2label") or {}
    found = [str(names[key]) for key in sorted(names, key=int)]
    if found != list(labels):
        cause = f"knows the labels {', '.join(found) or 'of no task'}, and the data has {', '.join(labels)}"
        raise ModelError(str(folder), cause, "Start from a model of the same labels, or set `warm_start: null`")


def _check_missing(folder: Path, missing: Iterable[str], *, trained: bool) -> None:
    lacking = sorted(key for key in missing if trained or not any(part in _HEAD for part in key.split(".")))
    if lacking:
        cause = f"lacks {len(lacking)} weights of its own configuration ({lacking[0]}, …)"
        raise ModelError(str(folder), cause, "Fetch or save the model anew")


def _set_dropout(config: Any, dropout: float | None) -> None:
    for name in _DROPOUTS if dropout is not None else ():
        if hasattr(config, name):
            setattr(config, name, dropout)


def first_line(error: Exception) -> str:
    """What an error of a library says first, for a sentence of ours."""
    return str(error).strip().split("\n")[0][:200].rstrip(".! ")
