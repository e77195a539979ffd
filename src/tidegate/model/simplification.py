"""A classifier's graph gives the same with less work: what is constant is computed here, what nobody reads is not.

Patterns are found by how nodes are connected, as `export.to_onnx` writes BERT's layers, never by names. Where one is
not found, that part stays as it is. The fused operators that onnxruntime has for attention, and for sums that are
normalized, are not used: on a CPU they are slower than the steps that they replace.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from tidegate.model.graphs import Graph, attribute

Floats = NDArray[np.float32]
_BY_TOKEN = {"Add", "Div", "Erf", "Gelu", "LayerNormalization", "MatMul", "Mul", "Relu", "Tanh"}
"""Kinds of nodes that treat each token by itself (of products: those with constant weights)."""
_MASKED = "attention_mask.bias"


@dataclass(frozen=True, kw_only=True)
class Found:
    """How many times each pattern was found."""

    embeddings: int
    attentions: int
    first_tokens: int


@dataclass(frozen=True)
class _Attention:
    """The nodes of softmax(scale * query key' + mask) value, over heads."""

    masked: onnx.NodeProto
    """Adds the mask to the scores."""
    reshapes: tuple[onnx.NodeProto, ...]
    """Of query, key and value: from (batch, length, width) to (batch, length, heads, size)."""
    query: onnx.NodeProto
    """The product that gives the query."""
    last: onnx.NodeProto
    """The reshape back, which gives what the attention found."""


def simplified(model: onnx.ModelProto, *, max_length: int) -> tuple[onnx.ModelProto, Found]:
    """The simplified graph, and what was found; logits differ by the rounding of float32 alone.

    Args:
        max_length: tokens a text, at most; positions beyond are dropped from their table.
    """
    graph = Graph(model)
    embeddings = _everywhere(graph, "Add", partial(_simplify_embedding, max_length=max_length))
    attentions = _everywhere(graph, "Softmax", _simplify_attention)
    first_tokens = _everywhere(graph, "Gather", _keep_first_token) if attentions else 0
    return graph.model(), Found(embeddings=embeddings, attentions=attentions, first_tokens=first_tokens)


def _everywhere(graph: Graph, kind: str, simplify: Callable[[Graph, onnx.NodeProto], bool]) -> int:
    """Tries it at every node of a kind; says how many times it was done."""
    count = sum(simplify(graph, node) for node in list(graph.nodes) if node.op_type == kind)
    graph.sweep()
    return count


def _simplify_attention(graph: Graph, softmax: onnx.NodeProto) -> bool:
    """Shapes become constants, and all layers read one mask, (batch, 1, 1, length)."""
    found = _attention(graph, softmax)
    if found is None:
        return False
    size = _head_size(graph, found.reshapes[0])
    heads = _shape(graph, f"heads.{size}", [0, 0, -1, size])
    for node, shape in [*((node, heads) for node in found.reshapes), (found.last, _shape(graph, "joined", [0, 0, -1]))]:
        _change(graph, node, {node.input[1]: shape})
        del node.attribute[:]  # 0 takes the size of what is reshaped
    scores = graph.source(found.masked, "Mul")
    (mask,) = [name for name in found.masked.input if scores is not None and name != scores.output[0]]
    _change(graph, found.masked, {mask: _mask(graph)})
    return True


def _attention(graph: Graph, softmax: onnx.NodeProto) -> _Attention | None:
    above = graph.chain(softmax.input[0], "Add", "Mul", "MatMul")
    below = graph.below(softmax.output[0], "MatMul", "Transpose", "Reshape")
    if above is None or below is None or attribute(below[1], "perm", None) != [0, 2, 1, 3]:
        return None
    masked, scaled, scores = above
    if graph.above([name for name in masked.input if name != scaled.output[0]])[1] != {"attention_mask"}:
        return None
    query, key, value = (
        _heads(graph, name, perm)
        for name, perm in zip(
            [*scores.input, below[0].input[1]], ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True
        )
    )
    if query is None or key is None or value is None:
        return None
    product = _product(graph, query.input[0])
    return product and _Attention(masked, (query, key, value), product, below[2])


def _heads(graph: Graph, name: str, perm: list[int]) -> onnx.NodeProto | None:
    """The reshape above a transposition, where it makes (batch, length, heads, size)."""
    chain = graph.chain(name, "Transpose", "Reshape")
    if chain is None or attribute(chain[0], "perm", None) != perm or not _head_size(graph, chain[1]):
        return None
    return chain[1]


def _head_size(graph: Graph, reshape: onnx.NodeProto) -> int:
    """What a reshape to (batch, length, -1, size) says of the size; 0 where it is another one."""
    shape = graph.maker(reshape.input[1])
    if shape is None:
        known = graph.constant(reshape.input[1])
        return int(known[-1]) if known is not None and len(known) == 4 else 0
    parts = [graph.constant(name) for name in shape.input]
    rest, last = parts[-2:] if len(parts) == 4 else (None, None)
    return int(last.item()) if rest is not None and last is not None and rest.size == last.size == 1 else 0


def _product(graph: Graph, name: str) -> onnx.NodeProto | None:
    """The product with a constant that gives a tensor, a bias added or not."""
    node = graph.maker(name)
    if node is not None and node.op_type == "Add":
        node = graph.source(node, "MatMul")
    return node if node is not None and node.op_type == "MatMul" and _is_constant(graph, node.input[1]) else None


def _mask(graph: Graph) -> str:
    """0 where a token is, the least float32 where there is none."""
    if graph.maker(_MASKED) is None:
        least = np.array(np.finfo(np.float32).min)
        nodes = [
            helper.make_node("Cast", ["attention_mask"], [f"{_MASKED}.seen"], to=onnx.TensorProto.BOOL),
            helper.make_node("Unsqueeze", [f"{_MASKED}.seen", _shape(graph, "middle", [1, 2])], [f"{_MASKED}.row"]),
            helper.make_node(
                "Where", [f"{_MASKED}.row", *(graph.add_constant(f"{_MASKED}.{name}", value) for name, value in
                                              (("zero", np.zeros_like(least)), ("least", least)))], [_MASKED]
            ),
        ]  # fmt: skip
        graph.nodes[:0] = nodes
        graph.changed()
    return _MASKED


def _simplify_embedding(graph: Graph, added: onnx.NodeProto, *, max_length: int) -> bool:
    """The sum of the rows of words, types and positions: where all types are one, positions and type become a table."""
    inner = graph.source(added, "Add")
    parts = [] if inner is None else [*inner.input, *(name for name in added.input if name != inner.output[0])]
    gathers = [node for name in parts if (node := graph.maker(name)) is not None and node.op_type == "Gather"]
    words = [node for node in gathers if node.input[1] == "input_ids"]
    rows = [row for node in gathers if node not in words and (row := _fixed_rows(graph, node)) is not None]
    if len(parts) != 3 or len(words) != 1 or len(rows) != 2:
        return False
    table, output = sum(row[:max_length] for row in rows), added.output[0]
    name = graph.add_constant(f"{output}.positions", np.asarray(table, dtype=np.float32))
    zero = _shape(graph, "zero", [0])
    graph.replace(
        added,
        [
            helper.make_node("Shape", ["input_ids"], [f"{output}.length"], start=1, end=2),
            helper.make_node("Slice", [name, zero, f"{output}.length", zero], [f"{output}.row"]),
            helper.make_node("Add", [words[0].output[0], f"{output}.row"], [output]),
        ],
    )
    return True


def _fixed_rows(graph: Graph, gather: onnx.NodeProto) -> Floats | None:
    """The rows of a table by position, where neither token nor mask has a say in them: (1 or positions, width).

    Found are rows 0, 1, 2, … (positions), and one and the same row everywhere (types).
    """
    table, (nodes, _) = graph.constant(gather.input[0]), graph.above([gather.input[1]])
    values = [value for node in nodes for name in node.input if (value := graph.constant(name)) is not None]
    tables = [value for value in values if value.ndim == 2]
    kinds = [node.op_type for node in nodes]
    if table is None or not set(kinds) <= {"Shape", "Concat", "Slice", "GatherElements", "Expand"}:
        return None
    if sorted(kinds) == ["Shape", "Slice"] and len(tables) == 1:
        positions = tables[0][0]
        in_turn = (tables[0] == np.arange(len(positions))).all() and len(positions) <= len(table)
        return np.asarray(table[: len(positions)]) if in_turn else None
    chosen = [values for values in tables if (values == values.flat[0]).all()]
    return np.asarray(table[[chosen[0].flat[0]]]) if kinds[-1:] == ["Expand"] and len(chosen) == 1 else None


def _keep_first_token(graph: Graph, gather: onnx.NodeProto) -> bool:
    """Where the first token alone is read in the end, the last layer asks for it alone; keys and values stay whole."""
    index, above = graph.constant(gather.input[1]), graph.above([gather.input[0]])[0]
    last = [node for node in above if node.op_type == "Softmax"][-1:]
    attention = _attention(graph, last[0]) if last else None
    if attention is None or index is None or index.ndim or index.item() or attribute(gather, "axis", 0) != 1:
        return False
    source = attention.query.input[0]
    layer = _between(graph, {source, attention.last.output[0]}, gather)
    maker = graph.maker(source)
    if layer is None or maker is None or maker.op_type == "Slice":  # it was cut before
        return False
    first, (zero, one) = f"{source}.first", (_shape(graph, name, [n]) for n, name in enumerate(("zero", "one")))
    for node in (attention.query, *layer):
        _change(graph, node, {source: first})
    graph.replace(maker, [maker, helper.make_node("Slice", [source, zero, one, one], [first])])
    return True


def _between(graph: Graph, starts: set[str], end: onnx.NodeProto) -> list[onnx.NodeProto] | None:
    """The nodes from tensors to a node, if all treat tokens one by one and none of them is read elsewhere."""
    found: list[onnx.NodeProto] = []
    open_ = [end.input[0]]
    while open_:
        name = open_.pop()
        node = graph.maker(name)
        if name in starts or _is_constant(graph, name) or node in found:
            continue
        if node is None or node.op_type not in _BY_TOKEN or name in graph.outputs:
            return None
        if node.op_type == "MatMul" and not _is_constant(graph, node.input[1]):
            return None
        found.append(node)
        open_ += node.input
    closed = all(reader in [*found, end] for node in found for reader in graph.readers(node.output[0]))
    return found if closed else None


def _is_constant(graph: Graph, name: str) -> bool:
    return graph.constant(name) is not None


def _shape(graph: Graph, name: str, values: list[int]) -> str:
    """A constant of whole numbers, made once."""
    name = f"simplified.{name}"
    return name if _is_constant(graph, name) else graph.add_constant(name, np.array(values, dtype=np.int64))


def _change(graph: Graph, node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Lets a node read other tensors."""
    changed = [names.get(name, name) for name in node.input]
    del node.input[:]
    node.input.extend(changed)
    graph.changed()
