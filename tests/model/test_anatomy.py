"""Parts of encoders, and cuts that change shapes and, where nothing that counts is cut, no answer."""

from pathlib import Path

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    MPNetConfig,
    MPNetForSequenceClassification,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from tidegate.errors import ModelError
from tidegate.model import anatomy, encoder

SIZES = {"vocab_size": 30, "id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
BERT = SIZES | {
    "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 10,
    "max_position_embeddings": 20,
}  # fmt: skip


def bert() -> PreTrainedModel:
    return BertForSequenceClassification(BertConfig(**BERT))


def roberta() -> PreTrainedModel:
    return RobertaForSequenceClassification(RobertaConfig(**BERT, pad_token_id=1))


def distilbert() -> PreTrainedModel:
    config = DistilBertConfig(**SIZES, dim=12, n_layers=2, n_heads=3, hidden_dim=10, max_position_embeddings=20)
    return DistilBertForSequenceClassification(config)


@pytest.fixture(params=[bert, roberta, distilbert])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(2)
    made: PreTrainedModel = request.param()
    with torch.no_grad():
        for weights in made.parameters():
            weights.add_(0.3 * torch.randn_like(weights))
    return made.eval()  # type: ignore[no-any-return]


IDS = torch.tensor([[5, 7, 9, 11, 5, 8], [6, 7, 8, 9, 1, 1]])


def answers(model: PreTrainedModel, ids: torch.Tensor = IDS) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return found


def test_a_head_that_the_next_matrix_ignores_can_go(model: PreTrainedModel) -> None:
    for layer in anatomy.layers(model):
        layer.mixed.weight.data[:, 4:8] = 0  # the second of three heads, 4 wide
    before = answers(model)
    anatomy.keep_heads(model, [[0, 2], [0, 2]])
    assert [layer.query.out_features for layer in anatomy.layers(model)] == [8, 8]
    assert torch.allclose(answers(model), before, atol=1e-5)


def test_another_head_cannot(model: PreTrainedModel) -> None:
    before = answers(model)
    anatomy.keep_heads(model, [[0, 2], [0, 2]])
    assert not torch.allclose(answers(model), before, atol=1e-3)


def test_neurons_that_the_next_matrix_ignores_can_go(model: PreTrainedModel) -> None:
    for layer in anatomy.layers(model):
        layer.narrowing.weight.data[:, [1, 8]] = 0
    before = answers(model)
    anatomy.keep_neurons(model, [[0, 2, 3, 4, 5, 6, 7, 9]] * 2)
    assert [layer.widening.out_features for layer in anatomy.layers(model)] == [8, 8]
    assert torch.allclose(answers(model), before, atol=1e-5)


def test_tokens_that_do_not_occur_can_go(model: PreTrainedModel) -> None:
    before = answers(model)
    kept = [0, 1, 5, 6, 7, 8, 9, 11]
    anatomy.keep_tokens(model, kept)
    renumbered = torch.tensor([[kept.index(token) for token in row] for row in IDS.tolist()])
    assert model.get_input_embeddings().weight.shape == (8, 12)  # type: ignore[union-attr]
    assert torch.equal(answers(model, renumbered), before)


def test_positions_that_no_text_reaches_can_go(model: PreTrainedModel) -> None:
    before = answers(model)
    anatomy.keep_positions(model, 8)
    assert torch.equal(answers(model), before)
    assert model.config.max_position_embeddings == 8


def test_a_pruned_model_is_read_as_it_was_written(model: PreTrainedModel, tmp_path: Path) -> None:
    anatomy.keep_heads(model, [[1], [2]])
    anatomy.keep_neurons(model, [[0, 3], [1, 9]])
    anatomy.keep_tokens(model, range(20))
    anatomy.keep_positions(model, 9)
    before = answers(model)
    model.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    labels = [model.config.id2label[index] for index in (0, 1)]
    read = encoder.load(tmp_path, labels, trained=True)
    assert torch.equal(answers(read), before)
    assert anatomy.layers(read)[0].query.weight.shape == (4, 12)


def test_without_dropout_training_answers_as_service_does(model: PreTrainedModel) -> None:
    wanted = answers(model)
    model.train()
    assert not torch.equal(answers(model), wanted)
    anatomy.set_dropout(model, 0.0)
    assert torch.allclose(answers(model), wanted, atol=1e-6)


def test_a_pruned_model_with_other_weights_than_its_config_is_told(tmp_path: Path) -> None:
    made = bert()
    anatomy.keep_heads(made, [[1], [2]])
    made.config.kept_heads = 2
    made.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be read as a sequence classifier"):
        encoder.load(tmp_path, ["bad", "good"], trained=True)


def test_a_family_whose_parts_are_not_known_is_refused() -> None:
    made = MPNetForSequenceClassification(MPNetConfig(**BERT))
    with pytest.raises(ModelError, match="is of no family whose heads and neurons can be removed"):
        anatomy.keep_heads(made, [[0], [0]])
