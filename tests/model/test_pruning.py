"""Which heads and neurons count: those that the answer depends on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from tidegate.data import TokenDataset, Tokens
from tidegate.errors import ModelError
from tidegate.model import anatomy, pruning


@pytest.fixture
def dataset(tmp_path: Path) -> TokenDataset:
    draw = np.random.default_rng(3)
    rows = [draw.integers(1, 30, draw.integers(2, 9)).astype(np.int32) for _ in range(12)]
    Tokens.write(tmp_path / "rows.arrow", rows, draw.integers(0, 2, 12))
    return TokenDataset(Tokens(tmp_path / "rows.arrow"), pad=0)


@pytest.fixture
def model() -> BertForSequenceClassification:
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=30, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=10, num_labels=2,
        max_position_embeddings=20,
    )  # fmt: skip
    made = BertForSequenceClassification(config)
    with torch.no_grad():
        for weights in made.parameters():
            weights.add_(0.2 * torch.randn_like(weights))
    return made


def measured(model: BertForSequenceClassification, dataset: TokenDataset, batch_size: int = 4) -> pruning.Importance:
    rows = np.arange(len(dataset.tokens))
    return pruning.importance(model, dataset, rows, batch_size=batch_size, device=torch.device("cpu"))


def test_what_the_answer_does_not_depend_on_counts_nothing(
    model: BertForSequenceClassification, dataset: TokenDataset
) -> None:
    first, second = anatomy.layers(model)
    first.mixed.weight.data[:, 4:8] = 0  # the second of three heads, 4 wide
    second.narrowing.weight.data[:, 7] = 0
    found = measured(model, dataset)
    assert found.heads.shape == (2, 3)
    assert found.neurons.shape == (2, 10)
    assert found.heads[0, 1] == 0
    assert found.neurons[1, 7] == 0
    assert (np.delete(found.heads.ravel(), 1) > 0).all()
    assert (np.delete(found.neurons.ravel(), 17) > 0).all()


def test_the_importance_is_the_change_of_the_loss_to_first_order(
    model: BertForSequenceClassification, dataset: TokenDataset
) -> None:
    """A neuron whose output is scaled by 1 - e changes the loss of a row by e times what is summed up."""
    model.double().eval()
    found = pruning.importance(model, dataset, np.array([4]), batch_size=1, device=torch.device("cpu")).neurons[0]
    ids = torch.from_numpy(dataset.tokens[4].astype(np.int64))[None]
    labels = torch.from_numpy(dataset.tokens.labels[[4]])

    def loss() -> float:
        with torch.no_grad():
            return float(torch.nn.functional.cross_entropy(model(input_ids=ids).logits, labels))

    weight, whole, step = anatomy.layers(model)[0].narrowing.weight.data, loss(), 1e-5
    for neuron in (0, 5):
        kept = weight[:, neuron].clone()
        weight[:, neuron] *= 1 - step
        assert abs(loss() - whole) / step == pytest.approx(found[neuron], rel=1e-3)
        weight[:, neuron] = kept


def test_neither_batches_nor_padding_change_the_importance(
    model: BertForSequenceClassification, dataset: TokenDataset
) -> None:
    together, apart = measured(model, dataset, 12), measured(model, dataset, 1)
    assert np.allclose(together.heads, apart.heads, rtol=1e-4)
    assert np.allclose(together.neurons, apart.neurons, rtol=1e-4)


def test_the_strongest_stay_and_of_equals_the_first() -> None:
    scores = np.array([[0.1, 0.9, 0.5, 0.5], [4.0, 3.0, 2.0, 1.0]])
    assert pruning.strongest(scores, 2, what="x") == [[1, 2], [0, 1]]
    assert pruning.strongest(scores, 4, what="x") == [[0, 1, 2, 3]] * 2


def test_more_than_there_are_cannot_stay() -> None:
    with pytest.raises(ModelError, match=r"prune\.models\.x\.heads: is 5, and a layer has 4"):
        pruning.strongest(np.ones((2, 4)), 5, what="prune.models.x.heads")
