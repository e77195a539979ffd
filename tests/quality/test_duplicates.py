"""Duplicates: planted ones are found, strangers are not, and the sketches are those of the library."""

import random

import numpy as np
import pytest
from datasketch import MinHash, MinHashLSH
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from tidegate.quality import duplicates
from tidegate.quality.duplicates import Nearness

NEAR = Nearness(threshold=0.7, shingle=4, permutations=128)
WORDS = """the a picture sound phone film was is very not good bad great story plot actor battery price quick slow
    of"""


def strangers(count: int, seed: int = 0) -> list[str]:
    """Texts of which no two have much in common."""
    rng = random.Random(seed)
    return [" ".join("".join(rng.choices("abcdefghijklmnop", k=6)) for _ in range(12)) for _ in range(count)]


def related(count: int, seed: int = 0) -> list[str]:
    """Texts of all degrees of likeness."""
    rng = random.Random(seed)
    texts = [" ".join(rng.choices(WORDS.split(), k=rng.randint(1, 12))) for _ in range(count // 4)]
    while len(texts) < count:
        words = rng.choice(texts).split()
        words[rng.randrange(len(words))] = rng.choice(WORDS.split())
        texts.append(" ".join(words))
    return texts


def test_equal_texts_are_one_cluster_and_strangers_are_alone() -> None:
    texts = strangers(50)
    keys = [*texts, texts[3], texts[7]]
    assert duplicates.clusters(keys, NEAR).tolist() == [*range(50), 3, 7]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("had the best lucky charm ever tonight. thanks", "had the very best lucky charm ever tonight! thanks! :)"),
        ("the 2600 had false plate instead of play display.", "the ad2600 had false plate instead of play display."),
        ("yay.", "yay!!!"),
        ("这部电影的故事非常好我很喜欢它的演员", "这部电影的故事非常好我很喜欢它的演员们"),
    ],
)  # fmt: skip
def test_a_changed_word_or_mark_is_a_near_duplicate(one: str, other: str) -> None:
    assert duplicates.clusters([*strangers(20), one, other], NEAR).tolist()[-2:] == [20, 20]


@pytest.mark.parametrize(("one", "other"), [(":)", ":("), ("yes", "no"), ("good film", "good phone"), ("", "a")])
def test_short_texts_that_differ_are_no_duplicates(one: str, other: str) -> None:
    assert duplicates.clusters([one, other], NEAR).tolist() == [0, 1]


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7])
def test_nearly_every_pair_above_the_threshold_is_tied_and_no_other(threshold: float) -> None:
    near = Nearness(threshold=threshold, shingle=4, permutations=128)
    texts = related(300)
    exact, found = duplicates.crossing(texts, (np.arange(300) % 2).astype(np.int8), near)
    pairs = {(p.first, p.second) for p in [*exact, *found]}
    sides = [(i, j) for i in range(300) for j in range(i + 1, 300) if i % 2 != j % 2]
    first = {(t, i % 2): i for i, t in reversed(list(enumerate(texts)))}
    truth = {
        (i, j) for i, j in sides
        if first[texts[i], i % 2] == i and first[texts[j], j % 2] == j
        and duplicates.similarity(texts[i], texts[j], 4) >= threshold
    }  # fmt: skip
    assert pairs <= truth
    assert len(pairs) >= 0.98 * len(truth) > 50


def test_the_clusters_are_those_that_comparing_all_with_all_gives() -> None:
    texts = [text for text in related(300, seed=5) if len(text) > 40]
    alike = np.array([[duplicates.similarity(a, b, 4) >= NEAR.threshold for b in texts] for a in texts])
    _, component = connected_components(alike)
    expected = [component.tolist().index(c) for c in component]
    assert duplicates.clusters(texts, NEAR).tolist() == expected
    assert 10 < len(set(expected)) < len(texts) - 10


def test_likeness_is_passed_on_within_a_cluster() -> None:
    base = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    chain = [" ".join(base[:k]) for k in range(5, 11)]
    assert duplicates.similarity(chain[0], chain[-1], 4) < NEAR.threshold
    assert set(duplicates.clusters(chain, NEAR).tolist()) == {0}


@given(st.lists(st.text(alphabet="ab é中\ud800.", max_size=12), max_size=25), st.randoms())
@settings(max_examples=60, deadline=None)
def test_the_partition_does_not_depend_on_the_order(keys: list[str], rng: random.Random) -> None:
    order = list(range(len(keys)))
    rng.shuffle(order)
    plain, shuffled = duplicates.clusters(keys, NEAR), duplicates.clusters([keys[i] for i in order], NEAR)
    for at, i in enumerate(order):
        for other, j in enumerate(order):
            assert (plain[i] == plain[j]) == (shuffled[at] == shuffled[other])


def test_the_signatures_are_those_of_the_library() -> None:
    texts = [*related(40), "", "a", "x" * 200_000, "é中"]
    hashes, starts = duplicates.shingle_hashes(texts, 4)
    ends = [*starts[1:], len(hashes)]
    for row, start, end in zip(duplicates.signatures(texts, NEAR), starts, ends, strict=True):
        sketch = MinHash(num_perm=128, seed=1, hashfunc=int)
        sketch.update_batch(hashes[start:end].tolist())
        assert np.array_equal(row, sketch.hashvalues)


def test_the_candidates_are_those_of_the_library() -> None:
    texts = sorted(set(related(120)))
    sketches = [MinHash(hashvalues=row, scheme="affine32") for row in duplicates.signatures(texts, NEAR)]
    index = MinHashLSH(num_perm=128, params=duplicates.bands(NEAR))
    for i, sketch in enumerate(sketches):
        index.insert(i, sketch)
    shared = {(min(i, j), max(i, j)) for i, s in enumerate(sketches) for j in index.query(s) if i != j}
    alike = {(i, j) for i, j in shared if sketches[i].jaccard(sketches[j]) >= 0.56}  # 0.54, and room for 8 bits
    found = {
        pair
        for left, right in duplicates._candidates(texts, NEAR)
        for pair in zip(left.tolist(), right.tolist(), strict=True)
    }
    assert found <= shared
    assert alike <= found


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_the_bands_find_a_pair_at_the_threshold(threshold: float) -> None:
    count, rows = duplicates.bands(Nearness(threshold=threshold, shingle=4, permutations=128))
    assert count * rows <= 128
    assert 1 - (1 - threshold**rows) ** count >= 0.98


def test_a_giant_bucket_takes_linear_time() -> None:
    """Ten thousand variants of one text: compared all with all that would be fifty million pairs."""
    texts = [f"the same sentence with the same many words in it and at its end a number {i}" for i in range(10_000)]
    assert len(set(duplicates.clusters(texts, NEAR).tolist())) == 1


def test_duplicates_across_sides_are_found_once_a_side() -> None:
    same, alike = "a text of some words that stands twice", "a text of some words that stands twice today"
    keys = [same, *strangers(10), same, same, alike]
    sides = np.array([0] * 11 + [0, 1, 2], dtype=np.int8)
    exact, near = duplicates.crossing(keys, sides, NEAR)
    assert [(p.first, p.second, p.similarity) for p in exact] == [(0, 12, 1.0)]
    assert [(p.first, p.second) for p in near] == [(0, 13), (12, 13)]


def test_no_texts_have_no_duplicates() -> None:
    assert duplicates.clusters([], NEAR).tolist() == []
    assert duplicates.crossing([], np.array([], dtype=np.int8), NEAR) == ([], [])
