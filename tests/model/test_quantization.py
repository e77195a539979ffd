"""int8 graphs: small, close to what they come from, and with fixed scales blind to the neighbours."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper
from transformers import BertConfig, BertForSequenceClassification

from tidegate.model import export, quantization

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def graph():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=600, hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256,
        max_position_embeddings=64, num_labels=3, initializer_range=0.1,
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    for name, weight in model.named_parameters():
        if name.endswith("query.bias"):  # the others stay zero, and the exporter leaves them out
            torch.nn.init.normal_(weight)
    model.set_attn_implementation("eager")
    return export.to_onnx(model, opset=20)


def feed(*lengths: int, seed: int = 0):
    random, mask = np.random.default_rng(seed), np.zeros((len(lengths), max(lengths)), dtype=np.int64)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
    return {"input_ids": random.integers(0, 600, mask.shape) * mask, "attention_mask": mask}


@pytest.fixture(scope="module")
def bounds(graph):
    texts = [feed(length, seed=length) for length in range(3, 40)]
    return quantization.observed(graph, texts, method="minmax", percentile=100)


@pytest.fixture(scope="module")
def static(graph, bounds):
    return quantization.quantized(graph, bounds)


@pytest.fixture(scope="module")
def dynamic(graph):
    return quantization.quantized(graph, None)


def logits(model, given):
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(["logits"], given)[0]


@pytest.mark.parametrize("kind", ["static", "dynamic"])
@pytest.mark.parametrize("lengths", [(1,), (30,), (7, 20, 1, 33)])
def test_the_answers_stay_close(graph, kind, lengths, request):
    given = feed(*lengths, seed=99)
    expected, found = logits(graph, given), logits(request.getfixturevalue(kind), given)
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()
    assert np.abs(found - expected).max() > 0


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_all_that_is_large_is_int8(graph, kind, request):
    model = request.getfixturevalue(kind)
    constants = model.graph.initializer
    large = [constant for constant in constants if np.prod(constant.dims) >= 16_384]
    assert len(large) == 2 * 6 + 2  # the products of two layers, the pooler's and the table of words
    assert [constant.name for constant in large if constant.data_type != onnx.TensorProto.INT8] == []
    assert model.ByteSize() < 0.35 * graph.ByteSize()


def test_every_output_of_a_product_has_a_scale_of_its_own(static):
    constants = {constant.name: numpy_helper.to_array(constant) for constant in static.graph.initializer}
    products = [node for node in static.graph.node if node.op_type == "MatMulIntegerToFloat"]
    assert len(products) == 13
    for node in products:
        assert constants[node.input[3]].shape == (constants[node.input[1]].shape[1],)
        assert (np.abs(constants[node.input[1]]).max(axis=0) == 127).all()


def test_with_fixed_scales_an_answer_does_not_depend_on_its_neighbours(static):
    given = feed(9, 40, 1, seed=5)
    alone = [logits(static, {name: rows[[n], :length] for name, rows in given.items()})[0]
             for n, length in enumerate((9, 40, 1))]  # fmt: skip
    np.testing.assert_allclose(logits(static, given), alone, atol=1e-4)


def test_with_scales_of_the_batch_it_does(dynamic):
    given = feed(9, 40, seed=5)
    alone = logits(dynamic, {name: rows[:1, :9] for name, rows in given.items()})[0]
    assert np.abs(logits(dynamic, given)[0] - alone).max() > 1e-4


def test_equal_graphs_give_equal_bytes_and_stay_as_they_were(graph, bounds):
    before = graph.SerializeToString(deterministic=True)
    first, second = (quantization.quantized(graph, bounds).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
    assert graph.SerializeToString(deterministic=True) == before


def test_the_bounds_are_what_the_texts_gave(graph):
    given = [feed(5, seed=1), feed(9, seed=2)]
    widest = quantization.observed(graph, given, method="minmax", percentile=99)
    cut = quantization.observed(graph, given, method="percentile", percentile=99)
    assert list(widest) == list(cut) == quantization.inputs(graph)
    for name in widest:
        assert widest[name][0] <= cut[name][0] < cut[name][1] <= widest[name][1]
    assert widest != cut
    one = quantization.observed(graph, given[:1], method="minmax", percentile=99)
    assert all(widest[name][0] <= one[name][0] and one[name][1] <= widest[name][1] for name in one)


def test_equalizing_changes_no_answer_and_makes_the_channels_alike(graph):
    given = [feed(length, seed=length) for length in range(3, 30)]
    equal = quantization.equalized(graph, given, strength=1.0)
    np.testing.assert_allclose(logits(equal, feed(7, 20)), logits(graph, feed(7, 20)), atol=1e-4)
    for row in quantization._watched(equal, quantization.inputs(equal), given):
        assert all(np.abs(values).max() < 1.0001 for values in row)


def test_equalizing_saves_what_one_large_channel_would_round_away(graph):
    given, skewed = [feed(length, seed=length) for length in range(3, 40)], onnx.ModelProto()
    skewed.CopyFrom(graph)
    norms = {name for node in skewed.graph.node if node.op_type == "LayerNormalization" for name in node.input[1:2]}
    for one in skewed.graph.initializer:
        if one.name in norms:
            one.CopyFrom(numpy_helper.from_array(np.r_[np.float32(60), numpy_helper.to_array(one)[1:]], one.name))

    def error(model):
        bounds = quantization.observed(model, given, method="minmax", percentile=100)
        difference = logits(quantization.quantized(model, bounds), feed(9, 30)) - logits(skewed, feed(9, 30))
        return np.abs(difference).mean()

    assert error(quantization.equalized(skewed, given, strength=0.8)) < 0.6 * error(skewed)


@pytest.mark.parametrize("axis", [0, 1])
def test_rounding_loses_at_most_half_a_step(axis):
    values = RANDOM.normal(size=(20, 30)).astype(np.float32) * np.logspace(-3, 3, 30, dtype=np.float32)
    rounded, scales = quantization.int8(values, axis=axis)
    step = np.expand_dims(scales, axis)
    assert rounded.dtype == np.int8
    assert (np.abs(rounded * step - values) <= step * 0.5001).all()


def test_weights_that_are_all_zero_stay_zero():
    rounded, scales = quantization.int8(np.zeros((4, 3), dtype=np.float32), axis=0)
    assert not rounded.any()
    assert np.isfinite(scales).all()


def test_a_graph_without_products_has_nothing_to_quantize(package_folder):
    assert quantization.inputs(onnx.load(package_folder() / "model.onnx")) == []
