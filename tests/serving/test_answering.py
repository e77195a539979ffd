"""A model's answers are the package's, with the masked text and the counts that the log wants."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tidegate.serving.answering import Model

TEXTS = ["a <b>good</b> film", "bad", "", "very good " * 40, "write to a@b.com or http://x.org/y"]


def test_probabilities_and_labels_are_those_of_the_package(model: Model) -> None:
    answers, expected = model.answers(TEXTS), model.package.predict(TEXTS)
    np.testing.assert_allclose([answer.probabilities for answer in answers], expected, atol=1e-9)
    assert [answer.label for answer in answers] == [model.package.labels[best] for best in expected.argmax(axis=1)]


def test_the_text_is_kept_as_the_model_saw_it_masked(model: Model) -> None:
    assert [answer.text for answer in model.answers(TEXTS)][::4] == ["a good film", "write to [email] or [link]"]


def test_tokens_are_counted_after_the_cut_and_unknown_ones_among_them(model: Model) -> None:
    answers = model.answers(["very good", "very strange things", "good " * 40])
    assert [(answer.tokens, answer.unknown) for answer in answers] == [(4, 0), (5, 2), (16, 0)]


def test_a_vocabulary_that_lacks_nothing_has_no_unknown_tokens(model: Model) -> None:
    path = model.package.folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["unk_token"] = None
    path.write_text(json.dumps(content))
    assert model.answers(["strange"])[0].unknown == 0


@pytest.mark.parametrize("text", ["\x00good", "\ud800 good", "good\x00\ud83d"])
def test_what_no_store_takes_is_replaced(package_folder: Callable[..., Path], text: str) -> None:
    from tidegate.package import Package

    plain = {"mend_unicode": False, "strip_markup": False, "mask": [], "max_characters": 100}
    model = Model(Package.load(package_folder(normalization=plain), threads=1), None)
    kept = model.answers([text])[0].text
    assert "good" in kept
    assert "\x00" not in kept
    kept.encode("utf-8")
