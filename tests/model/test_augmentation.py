"""Errors put into training texts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from tidegate.errors import ModelError
from tidegate.model.augmentation import Augmenter, Rates, augment, mistype

NONE = Rates(typing=0.0, deletion=0.0, swap=0.0)
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"]


def tokenizer() -> Tokenizer:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    vocabulary |= {f"##{letter}": len(vocabulary) + place for place, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    made.enable_truncation(12)
    return made


@given(st.lists(st.text("abc é1", min_size=1).filter(str.strip), min_size=1, max_size=20), st.integers(0, 99))
def test_words_are_only_left_out_swapped_or_mistyped(words: list[str], seed: int) -> None:
    random = np.random.default_rng(seed)
    left_out = augment(words, Rates(typing=0.0, deletion=0.5, swap=0.0), random)
    rest = iter(words)
    assert left_out
    assert all(word in rest for word in left_out), "in their order"
    assert sorted(augment(words, Rates(typing=0.0, deletion=0.0, swap=0.5), random)) == sorted(words)
    assert len(augment(words, Rates(typing=1.0, deletion=0.0, swap=0.0), random)) == len(words)
    assert augment(words, NONE, random) == words


def test_one_word_stays_whatever_is_left_out() -> None:
    assert len(augment(WORDS, Rates(typing=0.0, deletion=0.999999, swap=0.0), np.random.default_rng(1))) == 1


def test_rates_are_shares_of_words() -> None:
    words = [f"word{place}" for place in range(10_000)]
    random = np.random.default_rng(1)
    assert len(augment(words, Rates(typing=0.0, deletion=0.3, swap=0.0), random)) == pytest.approx(7_000, abs=200)
    mistyped = augment(words, Rates(typing=0.2, deletion=0.0, swap=0.0), random)
    changed = sum(before != after for before, after in zip(words, mistyped, strict=True))
    assert changed == pytest.approx(2_000, abs=200)


@given(st.text(min_size=1, max_size=12), st.integers(0, 99))
def test_a_typing_error_changes_a_letter_or_two(word: str, seed: int) -> None:
    wrong = mistype(word, np.random.default_rng(seed))
    assert wrong
    assert abs(len(wrong) - len(word)) <= 1


def test_without_errors_the_ids_come_back_as_they_were() -> None:
    made = tokenizer()
    ids = np.asarray(made.encode("The quick brown fox, zonked, jumps 7 times").ids, np.int32)
    unchanged = Augmenter(made, Rates(typing=0.0, deletion=0.0, swap=1e-12), seed=1)
    assert list(unchanged(ids, 0, 0)) == list(ids)


def test_a_row_gets_the_same_errors_in_the_same_epoch_and_others_in_the_next() -> None:
    made = tokenizer()
    ids = np.asarray(made.encode(" ".join(WORDS)).ids, np.int32)
    augmenter = Augmenter(made, Rates(typing=0.5, deletion=0.1, swap=0.1), seed=1)
    assert list(augmenter(ids, 3, 0)) == list(augmenter(ids, 3, 0))
    assert len({tuple(augmenter(ids, 3, epoch)) for epoch in range(5)}) > 1
    assert max(len(augmenter(ids, row, 0)) for row in range(30)) <= 12, "no text outgrows the model"


def test_a_tokenizer_that_cannot_go_back_is_refused() -> None:
    made = tokenizer()
    made.decoder = None
    with pytest.raises(ModelError, match="no decoder"):
        Augmenter(made, NONE, seed=1)


def test_an_unknown_token_is_not_mistyped() -> None:
    made = tokenizer()
    ids = np.asarray(made.encode("日").ids, np.int32)
    assert list(Augmenter(made, Rates(typing=1.0, deletion=0.0, swap=0.0), seed=1)(ids, 0, 0)) == list(ids)
