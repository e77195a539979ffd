"""A graph's weights become int8, and with them the inputs of its matrix products: a quarter of the size, faster.

Graph in, graph out; which models are quantized, and whether they are good enough, is decided elsewhere. The nodes are
written here rather than by `onnxruntime.quantization`, which knows one scale for a whole embedding table, and leaves
products alone whose shapes it cannot infer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Feed = Mapping[str, NDArray[np.int64]]
"""The graph's inputs by name."""
Floats = NDArray[np.float32]
Bounds = Mapping[str, tuple[float, float]]
"""By tensor the least and the largest value that is told apart; what lies outside becomes that bound."""
Method = Literal["minmax", "percentile"]

MICROSOFT = "com.microsoft"  # operators that onnxruntime has beyond the standard
_SMALL = 16_384  # weights of a table or a product; fewer are left as they are


@dataclass(frozen=True)
class _Product:
    """x @ weight (+ bias) in the graph."""

    source: str
    """The name of x."""
    weight: Floats
    """(inputs, outputs)"""
    bias: str
    """The name of an initializer (outputs,), or empty."""
    output: str
    nodes: tuple[onnx.NodeProto, ...]
    """What a quantized product takes the place of, in the graph's order."""


def quantized(model: onnx.ModelProto, bounds: Bounds | None) -> onnx.ModelProto:
    """The graph with int8 weights, a scale for each output of a product and for each row of an embedding table.

    A product's input becomes uint8 with one scale: a fixed one from `bounds`, or, where they are None, one that is
    computed from the whole batch each time (and then an answer depends on its neighbours).

    Args:
        bounds: of every tensor in `inputs(model)`.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph, constants = result.graph, _constants(model)
    replaced: dict[str, list[onnx.NodeProto]] = {}  # by output of the last node that is replaced: what comes there
    spare, seen = set[str](), set[str]()
    for product in _products(model):
        head = [] if product.source in seen else _quantized_input(graph, product.source, bounds)
        seen.add(product.source)
        replaced[product.output] = [*head, _quantized_product(graph, product)]
        spare |= {node.output[0] for node in product.nodes}
    for node in _lookups(model):
        replaced[node.output[0]] = _quantized_lookup(graph, node, numpy_helper.to_array(constants[node.input[0]]))
    _rewire(graph, replaced, spare)
    _use_microsoft(result)
    return result


def inputs(model: onnx.ModelProto) -> list[str]:
    """The names of the tensors that `quantized` makes uint8."""
    return list(dict.fromkeys(product.source for product in _products(model)))


def observed(model: onnx.ModelProto, feeds: Iterable[Feed], *, method: Method, percentile: float) -> Bounds:
    """Runs texts through the graph and bounds the inputs of its products.

    Args:
        feeds: best one text each: padding would count, which nobody reads.
        method: minmax takes the extremes; percentile cuts off the same share of values on either side, text by
            text, and takes the extremes of what is left.
        percentile: of the values of a text that lie below its upper bound, 50 to 100.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names, share = inputs(model), [100.0 - percentile, percentile] if method == "percentile" else [0.0, 100.0]
    del watched.graph.output[:]
    watched.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    session = _session(watched)
    found = [[np.percentile(values, share) for values in session.run(names, dict(feed))] for feed in feeds]
    extremes = np.array(found)  # texts x tensors x 2
    return {
        name: (float(low), float(high))
        for name, low, high in zip(names, extremes[:, :, 0].min(axis=0), extremes[:, :, 1].max(axis=0), strict=True)
    }


def _session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors alone
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {constant.name: constant for constant in model.graph.initializer}


def _products(model: onnx.ModelProto) -> list[_Product]:
    """The products with constant weights, but the last: it gives the logits, and is small."""
    constants, readers = _constants(model), _readers(model.graph)
    found = []
    for node in model.graph.node:
        weight = constants.get(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
        if weight is None or len(weight.dims) != 2 or np.prod(weight.dims) < _SMALL:
            continue
        if node.output[0] not in {output.name for output in model.graph.output} and (
            product := _gemm(node, weight) if node.op_type == "Gemm" else _matmul(node, weight, constants, readers)
        ):
            found.append(product)
    return found


def _readers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def _matmul(
    node: onnx.NodeProto,
    weight: onnx.TensorProto,
    constants: Mapping[str, onnx.TensorProto],
    readers: Mapping[str, Sequence[onnx.NodeProto]],
) -> _Product:
    values, (source, _), (output,) = numpy_helper.to_array(weight), node.input, node.output
    following = readers.get(output, [])
    if len(following) == 1 and following[0].op_type == "Add":
        added = [name for name in following[0].input if name != output]
        if len(added) == 1 and added[0] in constants and list(constants[added[0]].dims) == [values.shape[1]]:
            return _Product(source, values, added[0], following[0].output[0], (node, following[0]))
    return _Product(source, values, "", output, (node,))


def _gemm(node: onnx.NodeProto, weight: onnx.TensorProto) -> _Product | None:
    settings = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
    settings |= {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    turned = settings.pop("transB")
    if settings != {"alpha": 1.0, "beta": 1.0, "transA": 0}:
        return None
    values = numpy_helper.to_array(weight)
    source, _, bias = [*node.input, ""][:3]
    return _Product(source, values.T if turned else values, bias, node.output[0], (node,))


def _quantized_input(graph: onnx.GraphProto, name: str, bounds: Bounds | None) -> list[onnx.NodeProto]:
    parts = [f"{name}.quantized", f"{name}.scale", f"{name}.zero"]
    if bounds is None:
        return [helper.make_node("DynamicQuantizeLinear", [name], parts)]
    low, high = min(bounds[name][0], 0.0), max(bounds[name][1], 0.0)  # padding's zeros stay zeros
    scale = np.float32(max(high - low, 1e-12) / 255)
    _add(graph, parts[1], np.array(scale))
    _add(graph, parts[2], np.array(np.clip(round(-low / float(scale)), 0, 255), dtype=np.uint8))
    return [helper.make_node("QuantizeLinear", [name, *parts[1:]], parts[:1])]


def _quantized_product(graph: onnx.GraphProto, product: _Product) -> onnx.NodeProto:
    values, scales = int8(product.weight, axis=0)
    weight = f"{product.output}.weight"
    _add(graph, weight, values)
    _add(graph, f"{weight}.scale", scales)
    x = [f"{product.source}.{part}" for part in ("quantized", "scale", "zero")]
    names = [x[0], weight, x[1], f"{weight}.scale", x[2], "", product.bias]
    return helper.make_node(
        "MatMulIntegerToFloat", names[: 7 if product.bias else 5], [product.output], domain=MICROSOFT
    )


def int8(values: Floats, *, axis: int) -> tuple[NDArray[np.int8], Floats]:
    """Rounds values (2 axes) to -127 to 127 times a scale for each slice along `axis`; gives both."""
    largest = np.abs(values).max(axis=axis, keepdims=True)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.round(values / scales).astype(np.int8), scales.squeeze(axis)


def _lookups(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that take rows out of a constant table of floats."""
    constants = _constants(model)
    return [
        node
        for node in model.graph.node
        if node.op_type == "Gather"
        and not any(helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == "axis")
        and (table := constants.get(node.input[0])) is not None
        and table.data_type == onnx.TensorProto.FLOAT
        and len(table.dims) == 2
        and np.prod(table.dims) >= _SMALL
    ]


def _quantized_lookup(graph: onnx.GraphProto, node: onnx.NodeProto, table: Floats) -> list[onnx.NodeProto]:
    output, rows = node.output[0], node.input[1]
    values, scales = int8(table, axis=1)
    _add(graph, f"{output}.table", values)
    _add(graph, f"{output}.table.scale", scales[:, None])
    return [
        helper.make_node("Gather", [f"{output}.table", rows], [f"{output}.integers"]),
        helper.make_node("Gather", [f"{output}.table.scale", rows], [f"{output}.scale"]),
        helper.make_node("Cast", [f"{output}.integers"], [f"{output}.floats"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [f"{output}.floats", f"{output}.scale"], [output]),
    ]


def _add(graph: onnx.GraphProto, name: str, values: NDArray[np.generic]) -> None:
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values) if values.ndim else values, name))


def _rewire(graph: onnx.GraphProto, replaced: Mapping[str, list[onnx.NodeProto]], spare: set[str]) -> None:
    """Puts nodes in the place of those that gave the same output; drops `spare` ones, and constants that none reads."""
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes += replaced.get(node.output[0], [] if node.output[0] in spare else [node])
    read = {name for node in nodes for name in node.input}
    kept = [constant for constant in graph.initializer if constant.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)


def _use_microsoft(model: onnx.ModelProto) -> None:
    if all(used.domain != MICROSOFT for used in model.opset_import):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
