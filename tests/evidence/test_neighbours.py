"""The company of a text: every text in every way of batching, and an answer that changes is counted once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tidegate.evidence import neighbours


@given(st.lists(st.integers(1, 99), min_size=1, max_size=70), st.integers(1, 9), st.integers(0, 3))
def test_every_text_comes_in_every_way(sizes, batch_size, seed):
    for way, batches in neighbours.compositions(sizes, batch_size=batch_size, seed=seed).items():
        assert {row for batch in batches for row in batch} == set(range(len(sizes))), way
        assert all(len(batch) <= max(batch_size, 2) for batch in batches), way


def test_the_ways_differ_in_the_company():
    sizes = [5, 1, 9, 2, 2]
    ways = neighbours.compositions(sizes, batch_size=3, seed=0)
    assert ways["alone"] == [[0], [1], [2], [3], [4]]
    assert ways["sorted"] == [[1, 3, 4], [0, 2]]
    assert all(batch[-1] == 2 for batch in ways["shuffled"])  # the longest
    assert ways == neighbours.compositions(sizes, batch_size=3, seed=0)


def test_a_model_that_looks_at_one_text_at_a_time_never_flips():
    ways = neighbours.compositions(range(1, 40), batch_size=8, seed=0)
    assert neighbours.flips(lambda batch: np.array(batch) % 3, ways, 39) == 0


def test_every_text_whose_label_depends_on_its_company_is_counted_once():
    ways = neighbours.compositions(range(1, 11), batch_size=4, seed=0)
    assert neighbours.flips(lambda batch: np.full(len(batch), len(batch)), ways, 10) == 1.0

    def one_flips(batch):
        return np.array([int(row == 3 and len(batch) > 1) for row in batch])

    assert neighbours.flips(one_flips, ways, 10) == 0.1
