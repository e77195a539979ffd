"""Smaller vocabularies of the three kinds there are: every text still encodes, and what stays is what is used."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from tidegate.data import Tokens
from tidegate.errors import ModelError
from tidegate.model import vocabulary

TEXTS = ["the tide comes in", "the tide goes out", "a tidal gate at the sea", "seagulls gather at the gate"] * 3
SPECIAL = ["<pad>", "<unk>", "<s>", "</s>"]


def made(kind: str) -> Tokenizer:
    trainer: Any
    if kind == "WordPiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=90, special_tokens=SPECIAL)
    elif kind == "BPE":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet)
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=SPECIAL, unk_token="<unk>")
    tokenizer.train_from_iterator(TEXTS, trainer)
    ends = [("<s>", tokenizer.token_to_id("<s>")), ("</s>", tokenizer.token_to_id("</s>"))]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return tokenizer


def content_of(tokenizer: Tokenizer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tokenizer.to_str())
    return found


def counts_of(tokenizer: Tokenizer, texts: list[str]) -> np.ndarray:
    ids = np.concatenate([tokenizer.encode(text).ids for text in texts])
    return np.bincount(ids, minlength=tokenizer.get_vocab_size())


def smaller(tokenizer: Tokenizer, size: int, texts: list[str] = TEXTS[:1]) -> tuple[Tokenizer, list[int]]:
    content = content_of(tokenizer)
    kept = vocabulary.frequent(content, counts_of(tokenizer, texts), size, what="vocabulary")
    return Tokenizer.from_str(json.dumps(vocabulary.trimmed(content, kept))), kept


SIZES = {"WordPiece": 55, "BPE": 290, "Unigram": 26}
KINDS = pytest.mark.parametrize(("kind", "size"), SIZES.items())


@KINDS
def test_a_text_of_kept_tokens_encodes_as_before(kind: str, size: int) -> None:
    whole = made(kind)
    small, kept = smaller(whole, size)
    assert small.get_vocab_size() == len(kept) <= size < whole.get_vocab_size()
    assert small.encode(TEXTS[0]).tokens == whole.encode(TEXTS[0]).tokens
    assert [kept[token] for token in small.encode(TEXTS[0]).ids] == whole.encode(TEXTS[0]).ids


@KINDS
def test_special_tokens_stay_and_are_put_where_they_were(kind: str, size: int) -> None:
    small, kept = smaller(made(kind), size)
    assert kept == sorted(kept)
    assert [small.token_to_id(token) for token in SPECIAL] == [0, 1, 2, 3]
    encoded = small.encode("the sea")
    assert (encoded.tokens[0], encoded.tokens[-1]) == ("<s>", "</s>")
    assert (encoded.ids[0], encoded.ids[-1]) == (2, 3)


@KINDS
def test_a_dropped_token_falls_back_to_its_pieces(kind: str, size: int) -> None:
    whole = made(kind)
    small, _ = smaller(whole, size)
    words = {word for text in TEXTS for word in text.split()}
    dropped = [word for word in words if len(small.encode(word).ids) > len(whole.encode(word).ids)]
    assert dropped
    for word in dropped:
        pieces = "".join(small.encode(word).tokens[1:-1]).replace("##", "").replace("▁", "").replace("Ġ", "")
        assert pieces == word or "<unk>" in pieces


@pytest.mark.parametrize("kind", ["WordPiece", "BPE", "Unigram"])
@settings(max_examples=40, deadline=None)
@given(text=st.text(max_size=30))
def test_every_text_still_encodes(kind: str, text: str) -> None:
    small, kept = _SMALL.setdefault(kind, smaller(made(kind), SIZES[kind]))
    ids = small.encode(text.encode("utf-8", "replace").decode()).ids
    assert len(ids) >= 2
    assert max(ids) < len(kept)


_SMALL: dict[str, tuple[Tokenizer, list[int]]] = {}


def test_of_rare_tokens_those_go_that_are_rarer() -> None:
    whole = made("WordPiece")
    texts = ["the the the sea", "the gate"]
    needed = len(vocabulary._needed(content_of(whole), vocabulary._pieces(content_of(whole)), counts_of(whole, texts)))
    small, _ = smaller(whole, needed + 1, texts)
    assert small.encode("the").tokens == ["<s>", "the", "</s>"]
    assert len(small.encode("gate").tokens) > 3


def test_a_size_that_cannot_hold_what_has_to_stay_is_told() -> None:
    whole = made("Unigram")
    with pytest.raises(ModelError, match=r"x\.vocabulary: is 6, and special tokens and single characters are"):
        vocabulary.frequent(content_of(whole), counts_of(whole, TEXTS), 6, what="x.vocabulary")


def test_the_report_tells_what_the_smaller_vocabulary_costs(tmp_path: Path) -> None:
    whole = made("WordPiece")
    content = content_of(whole)
    kept = vocabulary.frequent(content, counts_of(whole, TEXTS[:1]), 55, what="vocabulary")
    small = Tokenizer.from_str(json.dumps(vocabulary.trimmed(content, kept)))
    rows = []
    for name, tokenizer in (("whole", whole), ("small", small)):
        ids = [np.array(tokenizer.encode(text).ids, np.int32) for text in ["the sea", "the gate 漢"]]
        Tokens.write(tmp_path / name, ids, np.zeros(2, np.int64))
        rows.append(Tokens(tmp_path / name))
    found = vocabulary.report(content, kept, before=rows[0], after=rows[1])
    assert (found["before"], found["after"]) == (whole.get_vocab_size(), len(kept))
    assert found["tokens_a_text_after"] > found["tokens_a_text_before"]
    assert found["unknown_share_before"] == pytest.approx(1 / len(np.concatenate(list(rows[0]))))
    assert found["unknown_share_after"] == pytest.approx(1 / len(np.concatenate(list(rows[1]))))
