"""What a student is built from and what it is taught."""

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import BertConfig, BertForSequenceClassification

from tidegate.data import UNLABELLED
from tidegate.errors import ModelError
from tidegate.fitting import Fitting
from tidegate.model import anatomy
from tidegate.model.distillation import Distiller, Objective, hidden_loss, matched, soft_loss, student

SETTINGS = Fitting(
    epochs=1, batch_size=4, accumulate=1, rounds=1, learning_rate=0.1, weight_decay=0.0, warmup=0.0, schedule="linear",
    clip=None, metric="loss", patience=None, accelerator="cpu", devices=1, nodes=1, strategy="auto",
    precision="32-true", seed=1,
)  # fmt: skip


@pytest.fixture
def teacher() -> BertForSequenceClassification:
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16, num_labels=3,
        max_position_embeddings=10,
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


def test_a_student_has_the_weights_of_the_layers_that_it_was_given(teacher: BertForSequenceClassification) -> None:
    made = student(teacher, [0, 2])
    theirs, ours = anatomy.layers(teacher), anatomy.layers(made)
    assert len(ours) == made.config.num_hidden_layers == 2
    assert torch.equal(ours[1].query.weight, theirs[2].query.weight)
    assert torch.equal(made.classifier.weight, teacher.classifier.weight)  # type: ignore[union-attr, arg-type]
    with torch.no_grad():
        ours[1].query.weight.zero_()
    assert theirs[2].query.weight.any()  # a copy
    assert len(anatomy.layer_stack(teacher)) == 4


def test_a_student_with_all_layers_is_the_teacher(teacher: BertForSequenceClassification) -> None:
    ids = torch.randint(1, 20, (3, 7))
    assert torch.equal(student(teacher, range(4))(input_ids=ids).logits, teacher(input_ids=ids).logits)


def test_a_layer_that_is_not_there_is_told(teacher: BertForSequenceClassification) -> None:
    with pytest.raises(ModelError, match="names layer 4, and the teacher has the layers 0 to 3"):
        student(teacher, [0, 4])


@pytest.mark.parametrize(
    ("layers", "taught_by"),
    [([0, 1, 2], [0, 1, 5]), ([1, 3, 5], [2, 4, 5]), ([5], [5]), ([0], [5]), ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5])],
)
def test_a_layer_is_taught_what_lies_before_the_next_one_kept(layers: list[int], taught_by: list[int]) -> None:
    assert matched(layers, 6) == taught_by


def test_the_soft_loss_is_none_between_equals_and_its_size_does_not_fall_with_the_temperature() -> None:
    taught = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.5, 0.0]])
    assert soft_loss(taught + 7, taught, 2.0).abs().max() < 1e-6  # a shift of all logits changes nothing
    wrong = taught.flip(1)
    wanted = functional.softmax(taught / 3, 1) * (
        functional.log_softmax(taught / 3, 1) - functional.log_softmax(wrong / 3, 1)
    )
    assert torch.allclose(soft_loss(wrong, taught, 3.0), 9 * wanted.sum(1))
    near, far = (float(soft_loss(wrong, taught, temperature)[0]) for temperature in (50.0, 100.0))
    assert far == pytest.approx(near, rel=0.05)


def test_the_hidden_loss_looks_at_directions_alone() -> None:
    states = torch.randn(3, 2, 5)
    assert hidden_loss(states * 7, states).abs().max() < 1e-6
    assert torch.allclose(hidden_loss(-states, states), torch.full((3,), 4.0))


def _batch(model: BertForSequenceClassification, labels: list[int]) -> dict[str, torch.Tensor]:
    ids = torch.randint(1, 20, (len(labels), 6))
    return {
        "input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor(labels),
        "teacher_logits": torch.randn(len(labels), 3), "teacher_states": torch.randn(len(labels), 4, 8).half(),
    }  # fmt: skip


@pytest.mark.parametrize(("soft", "hidden"), [(0.0, 0.0), (0.5, 0.0), (0.5, 2.0)])
def test_a_row_without_a_label_is_taught_by_the_teacher_alone(
    teacher: BertForSequenceClassification, soft: float, hidden: float
) -> None:
    aim = Objective(temperature=2.0, soft=soft, hidden=hidden)
    module = Distiller(student(teacher, [0, 3]), SETTINGS, section="distill", objective=aim, taught_by=[2, 3])
    batch = _batch(teacher, [UNLABELLED, 2])
    with torch.no_grad():
        logits = module.logits(batch)
        losses = module.losses(batch, logits)
    taught = soft * soft_loss(logits, batch["teacher_logits"], 2.0)
    apart = hidden * hidden_loss(module._states, batch["teacher_states"][:, [2, 3]].float())
    hard = (1 - soft) * functional.cross_entropy(logits[1:], batch["labels"][1:])
    assert losses[0] == pytest.approx(float(taught[0] + apart[0]), abs=1e-6)
    assert losses[1] == pytest.approx(float(taught[1] + apart[1] + hard), abs=1e-5)


def test_the_states_are_those_of_the_first_token_after_the_last_layers(teacher: BertForSequenceClassification) -> None:
    aim = Objective(temperature=1.0, soft=1.0, hidden=1.0)
    module = Distiller(teacher, SETTINGS, section="distill", objective=aim, taught_by=[3]).eval()
    batch = _batch(teacher, [0, 1])
    module.logits(batch)
    wanted = teacher.bert(batch["input_ids"]).last_hidden_state[:, 0]
    assert np.allclose(module._states[:, 0].detach(), wanted.detach(), atol=1e-6)
