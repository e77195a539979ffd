"""Simplified graphs: the same logits for any batch, length and padding, with less to compute."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from tidegate.model import export, simplification
from tidegate.model.simplification import Found

HEADS = (4, 1, 3)  # of each layer; each takes 8 of the 32 values
PATTERNS = [(1,), (24,), (1, 1), (7, 24, 1, 13), (5, 5, 5)]


def make(heads=HEADS, *, bias=True) -> BertForSequenceClassification:
    """A classifier with random weights, heads and biases, as pruning leaves it."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=len(heads), num_attention_heads=4, intermediate_size=40,
        max_position_embeddings=64, num_labels=3, initializer_range=0.5,
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    model.set_attn_implementation("eager")
    for layer, kept in zip(model.bert.encoder.layer, heads, strict=True):
        attention = layer.attention.self
        for name in ("query", "key", "value"):
            setattr(attention, name, torch.nn.Linear(32, 8 * kept))
        attention.num_attention_heads, attention.all_head_size = kept, 8 * kept
        layer.attention.output.dense = torch.nn.Linear(8 * kept, 32)
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(weight) if bias else torch.nn.init.zeros_(weight)
    return model


@pytest.fixture(scope="module")
def graph():
    return export.to_onnx(make(), opset=20)


@pytest.fixture(scope="module")
def simple(graph):
    return simplification.simplified(graph, max_length=24)


def feed(lengths, *, left=False):
    mask = np.zeros((len(lengths), max(lengths)), dtype=np.int64)
    for row, length in enumerate(lengths):
        mask[row, -length if left else 0 : None if left else length] = 1
    return {"input_ids": np.random.default_rng(1).integers(0, 50, mask.shape), "attention_mask": mask}


def logits(model, given):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["logits"], given)[0]


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("lengths", PATTERNS)
def test_the_logits_are_the_same_for_any_batch_length_and_padding(graph, simple, lengths, left):
    given = feed(lengths, left=left)
    np.testing.assert_allclose(logits(simple[0], given), logits(graph, given), atol=2e-5)


def test_everything_is_found_in_what_export_writes(simple):
    assert simple[1] == Found(embeddings=1, attentions=3, first_tokens=1)


@pytest.mark.parametrize("opset", [18, 22])
def test_it_is_found_at_every_opset_and_without_biases(opset):
    whole = export.to_onnx(make((2,), bias=False), opset=opset)
    found = simplification.simplified(whole, max_length=24)
    assert found[1] == Found(embeddings=1, attentions=1, first_tokens=1)
    given = feed((3, 9))
    np.testing.assert_allclose(logits(found[0], given), logits(whole, given), atol=2e-5)


def test_the_last_layer_computes_the_first_token_alone(simple):
    model = onnx.ModelProto()
    model.CopyFrom(simple[0])
    gelus = [node.output[0] for node in model.graph.node if node.op_type == "Gelu"]
    softmaxes = [node.output[0] for node in model.graph.node if node.op_type == "Softmax"]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in (*gelus, *softmaxes))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    shapes = [value.shape for value in session.run([*gelus, *softmaxes], feed((9, 4)))]
    assert [shape[1] for shape in shapes[:3]] == [9, 9, 1]
    assert shapes[3:] == [(2, 4, 9, 9), (2, 1, 9, 9), (2, 3, 1, 9)]


def test_positions_that_no_text_reaches_are_dropped(graph, simple):
    before, after = ([list(one.dims) for one in model.graph.initializer] for model in (graph, simple[0]))
    assert [64, 32] in before
    assert [64, 32] not in after
    assert [24, 32] in after


def test_there_is_less_to_do(graph, simple):
    before, after = (Counter(node.op_type for node in model.graph.node) for model in (graph, simple[0]))
    assert after["MatMul"] == before["MatMul"]
    assert after["Concat"] == after["Expand"] == after["GatherND"] == 0
    assert after.total() < before.total() - 20


def test_the_graph_given_stays_as_it_is_and_equal_graphs_give_equal_bytes(graph):
    before = graph.SerializeToString(deterministic=True)
    first, second = (simplification.simplified(graph, max_length=24)[0] for _ in range(2))
    assert graph.SerializeToString(deterministic=True) == before
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_a_simplified_graph_is_simplified_no_further(simple):
    again, _ = simplification.simplified(simple[0], max_length=24)
    given = feed((4, 8))
    np.testing.assert_array_equal(logits(again, given), logits(simple[0], given))
    assert len(again.graph.node) == len(simple[0].graph.node)


def test_a_graph_of_another_kind_stays_as_it_is(package_folder):
    model = onnx.load(package_folder() / "model.onnx")
    found = simplification.simplified(model, max_length=24)
    assert found == (model, Found(embeddings=0, attentions=0, first_tokens=0))


def test_where_all_tokens_are_read_in_the_end_all_are_computed():
    class MeanOfTokens(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.whole = make((2,))

        def forward(self, **given):
            hidden = self.whole.bert(**given).last_hidden_state
            return type("Output", (), {"logits": self.whole.classifier(hidden.mean(dim=1) + hidden[:, 0])})

    whole = export.to_onnx(MeanOfTokens().eval(), opset=20)
    found = simplification.simplified(whole, max_length=24)
    assert found[1].first_tokens == 0
    given = feed((3, 9))
    np.testing.assert_allclose(logits(found[0], given), logits(whole, given), atol=2e-5)


def test_another_token_than_the_first_is_not_taken_for_it():
    class SecondToken(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.whole = make((2,))

        def forward(self, **given):
            return type(
                "Output", (), {"logits": self.whole.classifier(self.whole.bert(**given).last_hidden_state[:, 1])}
            )

    whole = export.to_onnx(SecondToken().eval(), opset=20)
    found = simplification.simplified(whole, max_length=24)
    given = feed((3, 9))
    assert found[1].first_tokens == 0
    np.testing.assert_allclose(logits(found[0], given), logits(whole, given), atol=2e-5)
