"""Variants of texts: how many, how they differ, and that equal seeds give equal ones."""

from pathlib import Path

import numpy as np
import polars
import pytest

from tidegate.fitting import Variants
from tidegate.model.variation import vary, write

TEXTS = ["the tide comes in at the gate", "gulls over a grey sea", "one", ""]


def changed(texts: list[str], seed: int = 1, **rates: float) -> list[str]:
    whole = {"copies": 1, "span": 0.0, "replaced": 0.0, "dropped": 0.0} | rates
    return vary(texts, Variants(**whole), np.random.default_rng(seed))  # type: ignore[arg-type]


def test_without_rates_a_variant_is_its_text() -> None:
    assert changed(TEXTS) == TEXTS


def test_a_span_is_a_run_of_the_texts_words() -> None:
    found = {changed(TEXTS[:1], seed, span=1.0)[0] for seed in range(60)}
    assert len(found) > 10
    assert all(one and f" {one} " in f" {TEXTS[0]} " for one in found)


def test_replaced_words_come_from_the_texts() -> None:
    words = {word for text in TEXTS for word in text.split()}
    found = changed([TEXTS[0]] * 200 + TEXTS[1:2], replaced=0.5)[:200]
    share = np.mean([a != b for text in found for a, b in zip(text.split(), TEXTS[0].split(), strict=True)])
    assert {word for text in found for word in text.split()} <= words
    assert 0.3 < share < 0.5  # some are replaced by themselves


def test_dropped_words_are_gone_and_one_stays() -> None:
    found = changed([TEXTS[0]] * 200, dropped=0.5)
    assert 3 < np.mean([len(text.split()) for text in found]) < 4
    assert all(changed(["a b"], seed, dropped=0.99)[0] for seed in range(20))


def test_a_text_without_white_space_is_varied_by_characters() -> None:
    found = changed(["潮汐之门海鸥"] * 40, dropped=0.5)
    assert {len(text) for text in found} > {2, 3}
    assert all(set(text) <= set("潮汐之门海鸥") for text in found)


@pytest.mark.parametrize("copies", [0, 1, 3])
def test_the_file_holds_as_many_variants_of_every_text(tmp_path: Path, copies: int) -> None:
    sources = [tmp_path / "train.parquet", tmp_path / "unlabelled.parquet"]
    for path in sources:
        polars.DataFrame({"text": TEXTS[:2]}).write_parquet(path)
    rates = Variants(copies=copies, span=0.5, replaced=0.2, dropped=0.2)
    assert write(sources, tmp_path / "a.parquet", rates, seed=4) == 4 * copies
    found = polars.read_parquet(tmp_path / "a.parquet")
    assert found.columns == ["text"]
    assert len(found) == 4 * copies
    assert len(set(found["text"])) >= copies


def test_equal_seeds_give_equal_bytes_and_others_do_not(tmp_path: Path) -> None:
    polars.DataFrame({"text": TEXTS}).write_parquet(tmp_path / "train.parquet")
    rates = Variants(copies=2, span=0.5, replaced=0.2, dropped=0.2)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write([tmp_path / "train.parquet"], tmp_path / name, rates, seed=seed)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()
