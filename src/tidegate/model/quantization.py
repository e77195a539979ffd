"""A graph's weights become int8, and with them the inputs of its matrix products: a quarter of the size, faster.

Graph in, graph out; which models are quantized, and whether they are good enough, is decided elsewhere. The nodes are
written here rather than by `onnxruntime.quantization`, which knows one scale for a whole embedding table, and leaves
products alone whose shapes it cannot infer.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper

from tidegate.model.graphs import MICROSOFT, Graph, attribute

Feed = Mapping[str, NDArray[np.int64]]
"""The graph's inputs by name."""
Floats = NDArray[np.float32]
Bounds = Mapping[str, tuple[float, float]]
"""By tensor the least and the largest value that is told apart; what lies outside becomes that bound."""
Method = Literal["minmax", "percentile"]

_TINY = 1e-5  # the least that a channel's largest value counts as
_SMALL = 1_024  # weights of a table or a product; fewer are left as they are


@dataclass(frozen=True)
class _Product:
    """x @ weight (+ bias) in the graph."""

    source: str
    """The name of x."""
    weight: Floats
    """(inputs, outputs)"""
    bias: str
    """The name of an initializer (outputs,), or empty."""
    first: onnx.NodeProto
    last: onnx.NodeProto
    """Gives the product, or the sum with the bias."""


def quantized(model: onnx.ModelProto, bounds: Bounds | None) -> onnx.ModelProto:
    """The graph with int8 weights, a scale for each output of a product and for each row of an embedding table.

    A product's input becomes uint8 with one scale: a fixed one from `bounds`, or, where they are None, one that is
    computed from the whole batch each time (and then an answer depends on its neighbours).

    Args:
        bounds: of every tensor in `inputs(model)`.
    """
    graph, seen = Graph(model), set[str]()
    for product in _products(graph):
        if product.source not in seen:  # several products may read it: query, key and value
            graph.replace(product.first, [_quantized_input(graph, product.source, bounds), product.first])
            seen.add(product.source)
        graph.replace(product.last, [_quantized_product(graph, product)])
    for node, table in _lookups(graph):
        graph.replace(node, _quantized_lookup(graph, node, table))
    return graph.model()


def inputs(model: onnx.ModelProto) -> list[str]:
    """The names of the tensors that `quantized` makes uint8."""
    return list(dict.fromkeys(product.source for product in _products(Graph(model))))


def observed(model: onnx.ModelProto, feeds: Iterable[Feed], *, method: Method, percentile: float) -> Bounds:
    """Runs texts through the graph and bounds the inputs of its products.

    Args:
        feeds: best one text each: padding would count, which nobody reads.
        method: minmax takes the extremes; percentile cuts off the same share of values on either side, text by
            text, and takes the extremes of what is left.
        percentile: of the values of a text that lie below its upper bound, 50 to 100.
    """
    share = [100.0 - percentile, percentile] if method == "percentile" else [0.0, 100.0]
    names = inputs(model)
    found = [[np.percentile(values, share) for values in row] for row in _watched(model, names, feeds)]
    extremes = np.array(found)  # texts x tensors x 2
    return {
        name: (float(low), float(high))
        for name, low, high in zip(names, extremes[:, :, 0].min(axis=0), extremes[:, :, 1].max(axis=0), strict=True)
    }


def equalized(model: onnx.ModelProto, feeds: Iterable[Feed], *, strength: float) -> onnx.ModelProto:
    """The same graph, the channels of its products' inputs scaled alike and the weights the other way round.

    A few channels of a transformer are far larger than the rest, which one scale for all would round away. Channel c
    is divided by max|x_c| ** strength / max|w_c| ** (1 - strength) (G. Xiao et al., "SmoothQuant", ICML 2023).

    Args:
        feeds: what max|x_c| is taken from.
        strength: 0 makes the weights alike, 1 the inputs.
    """
    names = inputs(model)
    largest = np.full(len(names), None)
    for row in _watched(model, names, feeds):
        tops = [np.abs(values).reshape(-1, values.shape[-1]).max(axis=0) for values in row]
        largest[:] = [top if old is None else np.maximum(old, top) for old, top in zip(largest, tops, strict=True)]
    graph = Graph(model)
    for name, top in zip(names, largest, strict=True):
        _equalize(graph, name, [product for product in _products(graph) if product.source == name], top, strength)
    return graph.model()


def _equalize(graph: Graph, source: str, products: list[_Product], largest: Floats, strength: float) -> None:
    weights = np.max([np.abs(product.weight).max(axis=1) for product in products], axis=0)
    scales = np.maximum(largest, _TINY) ** strength / np.maximum(weights, _TINY) ** (1 - strength)
    name, divisors = f"{source}.equal", graph.add_constant(f"{source}.divisors", (1 / scales).astype(np.float32))
    graph.replace(products[0].first, [helper.make_node("Mul", [source, divisors], [name]), products[0].first])
    for product in products:
        weight = (product.weight * scales[:, None]).astype(np.float32)
        turned = weight.T if attribute(product.first, "transB", 0) else weight
        product.first.input[:2] = [name, graph.add_constant(f"{product.first.output[0]}.weight", turned)]
    graph.changed()


def _watched(model: onnx.ModelProto, names: list[str], feeds: Iterable[Feed]) -> Iterator[list[Floats]]:
    """The values of inner tensors, feed by feed."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    session = _session(watched)
    for feed in feeds:
        yield session.run(names, dict(feed))


def _session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors alone
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _products(graph: Graph) -> list[_Product]:
    """The products with constant weights, but small ones and the last: what gives the logits is worth its bytes."""
    found = []
    for node in graph.nodes:
        weight = graph.constant(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
        if weight is not None and weight.ndim == 2 and weight.size >= _SMALL and node.output[0] not in graph.outputs:
            product = _gemm(node, weight) if node.op_type == "Gemm" else _matmul(graph, node, weight)
            found += [product] if product else []
    return found


def _matmul(graph: Graph, node: onnx.NodeProto, weight: Floats) -> _Product:
    added = graph.only_reader(node.output[0], "Add")
    for name in added.input if added else []:
        bias = graph.constant(name)
        if added and bias is not None and bias.shape == weight.shape[1:]:
            return _Product(node.input[0], weight, name, node, added)
    return _Product(node.input[0], weight, "", node, node)


def _gemm(node: onnx.NodeProto, weight: Floats) -> _Product | None:
    plain = {"alpha": 1.0, "beta": 1.0, "transA": 0}
    if any(attribute(node, name, value) != value for name, value in plain.items()):
        return None
    source, _, bias = [*node.input, ""][:3]
    return _Product(source, weight.T if attribute(node, "transB", 0) else weight, bias, node, node)


def _quantized_input(graph: Graph, name: str, bounds: Bounds | None) -> onnx.NodeProto:
    parts = [f"{name}.quantized", f"{name}.scale", f"{name}.zero"]
    if bounds is None:
        return helper.make_node("DynamicQuantizeLinear", [name], parts)
    low, high = min(bounds[name][0], 0.0), max(bounds[name][1], 0.0)  # so that the zero point fits
    scale = np.float32(max(high - low, 1e-12) / 255)
    graph.add_constant(parts[1], np.array(scale))
    graph.add_constant(parts[2], np.array(np.clip(round(-low / float(scale)), 0, 255), dtype=np.uint8))
    return helper.make_node("QuantizeLinear", [name, *parts[1:]], parts[:1])


def _quantized_product(graph: Graph, product: _Product) -> onnx.NodeProto:
    values, scales = int8(product.weight, axis=0)
    output = product.last.output[0]
    weight = f"{output}.int8"
    graph.add_constant(weight, values)
    graph.add_constant(f"{weight}.scale", scales)
    x = [f"{product.source}.{part}" for part in ("quantized", "scale", "zero")]
    names = [x[0], weight, x[1], f"{weight}.scale", x[2], "", product.bias]
    return helper.make_node("MatMulIntegerToFloat", names[: 7 if product.bias else 5], [output], domain=MICROSOFT)


def int8(values: Floats, *, axis: int) -> tuple[NDArray[np.int8], Floats]:
    """Rounds values (2 axes) to -127 to 127 times a scale for each slice along `axis`; gives both."""
    largest = np.abs(values).max(axis=axis, keepdims=True)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.round(values / scales).astype(np.int8), scales.squeeze(axis)


def _lookups(graph: Graph) -> list[tuple[onnx.NodeProto, Floats]]:
    """The nodes that take rows out of a constant table of floats, and the tables."""
    found = []
    for node in graph.nodes:
        table = graph.constant(node.input[0]) if node.op_type == "Gather" and not attribute(node, "axis", 0) else None
        if table is not None and table.dtype == np.float32 and table.ndim == 2 and table.size >= _SMALL:
            found.append((node, table))
    return found


def _quantized_lookup(graph: Graph, node: onnx.NodeProto, table: Floats) -> list[onnx.NodeProto]:
    output, rows = node.output[0], node.input[1]
    values, scales = int8(table, axis=1)
    graph.add_constant(f"{output}.table", values)
    graph.add_constant(f"{output}.table.scale", scales[:, None])
    return [
        helper.make_node("Gather", [f"{output}.table", rows], [f"{output}.integers"]),
        helper.make_node("Gather", [f"{output}.table.scale", rows], [f"{output}.scale"]),
        helper.make_node("Cast", [f"{output}.integers"], [f"{output}.floats"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [f"{output}.floats", f"{output}.scale"], [output]),
    ]
