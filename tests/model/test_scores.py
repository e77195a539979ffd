"""The figures a training is steered by."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, log_loss

from tidegate.model.scores import figures, tally


@given(st.integers(2, 5), st.integers(1, 60), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_figures_are_those_of_scikit_learn_however_the_rows_are_shared_out(labels: int, rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(random.normal(size=(rows, labels)))
    actual = torch.from_numpy(random.integers(0, labels, rows))
    cut = int(random.integers(0, rows + 1))
    found = figures(tally(logits[:cut], actual[:cut]) + tally(logits[cut:], actual[cut:]))
    predicted, every = logits.argmax(1).numpy(), list(range(labels))
    assert found["accuracy"] == pytest.approx(accuracy_score(actual, predicted))
    f1 = f1_score(actual, predicted, average="macro", labels=every, zero_division=0)
    assert found["macro_f1"] == pytest.approx(f1)
    assert found["loss"] == pytest.approx(log_loss(actual, torch.softmax(logits, 1), labels=every))
