"""A tiny data set and encoder, tokenized, and a teacher trained on it, for the stages that train."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from tidegate import files
from tidegate.params import bind
from tidegate.stages import tokenize, train

LABELS = ["negative", "positive"]
GOOD, BAD = ["good", "fine", "great", "warm"], ["bad", "dull", "poor", "cold"]
OTHER = ["a", "film", "story", "song", "with", "very", "this", "that"]

FITTING: dict[str, Any] = {
    "epochs": 3, "batch_size": 16, "accumulate": 1, "rounds": 1, "learning_rate": 0.01, "weight_decay": 0.01,
    "warmup": 0.1, "schedule": "linear", "clip": 1.0, "metric": "macro_f1", "patience": None, "accelerator": "cpu",
    "devices": 1, "nodes": 1, "strategy": "auto", "precision": "32-true", "seed": 3,
}  # fmt: skip
"""What all trainings are told, see `tidegate.fitting`."""

TRAIN: dict[str, Any] = FITTING | {
    "epochs": 8, "label_smoothing": 0.0, "class_weights": "none", "dropout": None, "warm_start": None,
    "freeze": {"embeddings": False, "layers": 0}, "lora": None,
    "augmentation": {"typing": 0.0, "deletion": 0.0, "swap": 0.0},
}  # fmt: skip


def pinned(folder: Path) -> str:
    return f"{folder}?sha256={files.digest_folder(folder)}"


def make_encoder(folder: Path) -> Path:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *GOOD, *BAD, *OTHER, *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(pieces[:4])
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=24,
    )  # fmt: skip
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def write_texts(path: Path, rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = [LABELS[int(random.random() < 0.6)] for _ in range(rows)]
    texts = []
    for label in labels:
        words = [*random.choice(OTHER, int(random.integers(1, 9))), random.choice(GOOD if label == "positive" else BAD)]
        texts.append(" ".join(random.permutation(words)))
    pl.DataFrame({"id": [str(row) for row in range(rows)], "text": texts, "label": labels}).write_parquet(path)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of two labels by single words, their token files, and an encoder with random weights."""
    folder = tmp_path_factory.mktemp("inputs")
    make_encoder(folder / "pretrained")
    write_texts(folder / "train.parquet", 150, seed=1)
    write_texts(folder / "validation.parquet", 40, seed=2)
    write_texts(folder / "unlabelled.parquet", 0, seed=3)
    (folder / "task.json").write_text(json.dumps({"task": "films", "labels": LABELS, "slices": []}))
    params = {"encoder": pinned(folder / "pretrained"), "max_length": 12, "batch_rows": 64}
    tokenize.run(
        bind(tokenize.Params, params, section="tokenize"),
        **{name: folder / f"{name}.parquet" for name in ("train", "validation", "unlabelled")},
        **{name: folder / name for name in ("encoder", "tokens")},
        task=folder / "task.json", tokenization=folder / "tokenization.json",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def fitting() -> dict[str, Any]:
    """The params that all trainings share."""
    return dict(FITTING)


@pytest.fixture(scope="session")
def teacher(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that knows the words that decide."""
    folder = tmp_path_factory.mktemp("teacher")
    train.run(
        bind(train.Params, TRAIN, section="train"), tokens=inputs / "tokens", encoder=inputs / "encoder",
        task=inputs / "task.json", teacher=folder / "teacher", training=folder / "training.json",
        curves=folder / "curves.csv", train_effort=folder / "train_effort.json",
    )  # fmt: skip
    return folder / "teacher"
