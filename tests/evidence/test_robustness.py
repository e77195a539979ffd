"""Perturbations: what each may change, for any text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.evidence import robustness
from tidegate.evidence.robustness import PERTURBATIONS, perturbed

TEXT = "The film, honestly, wasn't bad \u2014 I'd see it again!"


@pytest.mark.parametrize("name", PERTURBATIONS)
@given(texts=st.lists(st.text(), max_size=5), seed=st.integers(0, 9))
def test_every_perturbation_takes_any_text_and_repeats_itself(name: str, texts: list[str], seed: int) -> None:
    once = perturbed(name, texts, seed=seed)
    assert once == perturbed(name, texts, seed=seed)
    assert len(once) == len(texts)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_every_perturbation_changes_an_ordinary_text(name: str) -> None:
    assert perturbed(name, [TEXT], seed=1) != [TEXT]


def test_what_happens_to_a_text_does_not_depend_on_the_others() -> None:
    assert perturbed("typing_errors", [TEXT, "other"], seed=1)[0] == perturbed("typing_errors", [TEXT, TEXT], seed=1)[0]


def test_seeds_make_different_errors() -> None:
    assert len({perturbed("typing_errors", [TEXT], seed=seed)[0] for seed in range(20)}) > 5


def test_one_word_in_ten_is_mistyped() -> None:
    words = ["honestly"] * 50
    changed = robustness.typing_errors(" ".join(words), np.random.default_rng(3)).split(" ")
    assert len(changed) == 50
    assert 3 <= sum(word != "honestly" for word in changed) <= 5


def test_short_words_are_spared() -> None:
    assert perturbed("typing_errors", ["not bad at all"], seed=0) == ["not bad at all"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("upper_case", "THE FILM, HONESTLY, WASN'T BAD \u2014 I'D SEE IT AGAIN!"),
        ("lower_case", "the film, honestly, wasn't bad \u2014 i'd see it again!"),
        ("no_punctuation", "The film honestly wasnt bad  Id see it again"),
        ("truncation", "The film, honestly, wasn't bad \u2014 I'd see"),
    ],
)
def test_the_meaning_stays(name: str, expected: str) -> None:
    assert perturbed(name, [TEXT], seed=0) == [expected]


def test_white_space_is_all_that_white_space_changes() -> None:
    assert perturbed("white_space", [TEXT], seed=0)[0].split() == TEXT.split()


def test_a_truncated_text_keeps_at_least_a_word() -> None:
    assert perturbed("truncation", ["good"], seed=0) == ["good"]
