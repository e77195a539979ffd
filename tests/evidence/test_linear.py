"""TF-IDF and a linear model, chosen on validation."""

import numpy as np
import pytest

from tidegate.evidence import linear, scoring
from tidegate.evidence.linear import Choice, Labelled, Vocabulary

VOCABULARY = Vocabulary(word_ngrams=(1, 2), character_ngrams=(2, 3), minimum_texts=1, maximum=5000)
WORDS = [["good", "fine", "great"], ["bad", "poor", "awful"], ["so", "plain", "usual"]]


def texts(n: int, *, labels: int = 3, seed: int = 0) -> Labelled:
    chance = np.random.default_rng(seed)
    actual = chance.integers(0, labels, n)
    filler = ["film", "book", "day", "it", "was"]
    made = [" ".join([*chance.choice(filler, 4), chance.choice(WORDS[label])]) for label in actual]
    return Labelled(texts=made, labels=actual)


def choose(grid: list[Choice], *, labels: int = 3, train: Labelled | None = None) -> tuple[linear.Fitted, list[dict]]:
    return linear.choose(
        train or texts(120, labels=labels), texts(60, labels=labels, seed=1), vocabulary=VOCABULARY, grid=grid,
        labels=labels, seed=3, score=scoring.plain, by="accuracy",
    )  # fmt: skip


def point(**changed: object) -> Choice:
    plain = {"features": "words", "model": "svm", "c": 1.0, "class_weight": "none"}
    return Choice(**(plain | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize("features", ["words", "characters", "both"])
@pytest.mark.parametrize("model", ["svm", "logistic"])
def test_every_kind_learns_and_gives_probabilities(features: str, model: str):
    best, tried = choose([point(features=features, model=model)])
    unseen = texts(50, seed=2)
    p = best.probabilities(unseen.texts)
    assert tried[0]["accuracy"] > 0.9
    assert (p.argmax(axis=1) == unseen.labels).mean() > 0.9
    assert p.sum(axis=1) == pytest.approx(np.ones(50))


def test_the_best_on_validation_is_kept_and_all_are_reported():
    best, tried = choose([point(c=1e-6, class_weight="none", model="logistic"), point()])
    assert best.choice == point()
    assert [row["c"] for row in tried] == [1e-6, 1.0]
    assert tried[1]["accuracy"] > tried[0]["accuracy"]


def test_on_a_tie_the_first_is_kept():
    best, tried = choose([point(c=1.0), point(c=1.1)])
    assert tried[0]["accuracy"] == tried[1]["accuracy"]
    assert best.choice.c == 1.0


def test_equal_input_gives_equal_probabilities():
    unseen = texts(20, seed=5).texts
    first, second = (choose([point(features="both")])[0].probabilities(unseen) for _ in range(2))
    assert (first == second).all()


def test_two_labels_work():
    best, _ = choose([point()], labels=2)
    assert best.probabilities(["a good day", "a bad day"]).argmax(axis=1).tolist() == [0, 1]


def test_a_label_that_training_does_not_have_gets_no_probability():
    train = texts(120, labels=2)
    best, _ = choose([point()], train=train)
    p = best.probabilities(["a good day", "so usual"])
    assert p.shape == (2, 3)
    assert (p[:, 2] < 1e-9).all()


def test_an_empty_grid_is_an_error():
    with pytest.raises(ValueError, match="grid"):
        choose([])
