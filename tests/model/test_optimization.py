"""What decays, how the learning rate moves, what a row counts."""

import pytest
import torch
from torch import nn

from tidegate.model.optimization import class_weights, parameter_groups, schedule


def test_norms_and_biases_do_not_decay_and_frozen_weights_are_not_trained() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    decayed, plain = parameter_groups(model, 0.1)
    assert {id(p) for p in decayed["params"]} == {id(model[1].weight), id(model[3].weight)}
    assert {id(p) for p in plain["params"]} == {id(model[1].bias), *map(id, model[2].parameters()), id(model[3].bias)}
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)


@pytest.mark.parametrize(
    ("shape", "step", "factor"),
    [
        ("linear", 0, 1 / 11), ("linear", 9, 10 / 11), ("linear", 10, 1.0), ("linear", 55, 0.5), ("linear", 100, 0.0),
        ("cosine", 10, 1.0), ("cosine", 55, 0.5), ("cosine", 100, 0.0),
        ("constant", 0, 1 / 11), ("constant", 10, 1.0), ("constant", 100, 1.0), ("linear", 130, 0.0),
    ],
)  # fmt: skip
def test_the_learning_rate_rises_then_falls_by_its_shape(shape: str, step: int, factor: float) -> None:
    assert schedule(100, warmup=0.1, shape=shape)(step) == pytest.approx(factor)


def test_without_warm_up_the_first_step_is_at_full_rate() -> None:
    assert schedule(10, warmup=0.0, shape="linear")(0) == 1.0


def test_balanced_labels_count_the_same_in_sum_and_a_row_one_in_the_mean() -> None:
    labels = torch.tensor([0] * 6 + [1] * 3 + [2] * 1)
    weights = class_weights(labels, 3, balanced=True)
    sums = [float(weights[labels[labels == label]].sum()) for label in range(3)]
    assert sums == pytest.approx([10 / 3] * 3)
    assert float(weights[labels].mean()) == pytest.approx(1.0)
    assert class_weights(labels, 4, balanced=True).isfinite().all(), "a label without rows"
    assert class_weights(labels, 3, balanced=False).tolist() == [1, 1, 1]
