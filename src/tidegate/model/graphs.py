"""An ONNX graph that is being rewritten: who gives a tensor, who reads it, and what nobody reads is swept out.

What is rewritten, and why, stands in `simplification` and `quantization`.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

MICROSOFT = "com.microsoft"  # the operators that onnxruntime has beyond the standard


class Graph:
    """A copy of a model's graph. Nodes stay in an order in which each comes after those it reads."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self.nodes: list[onnx.NodeProto] = list(self._model.graph.node)
        self.outputs = [output.name for output in model.graph.output]
        self.inputs = [given.name for given in model.graph.input]
        self._constants = {constant.name: constant for constant in self._model.graph.initializer}
        self._values: dict[str, NDArray[Any]] = {}

    @cached_property
    def _makers(self) -> dict[str, onnx.NodeProto]:
        return {name: node for node in self.nodes for name in node.output}

    @cached_property
    def _readers(self) -> dict[str, list[onnx.NodeProto]]:
        readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                readers.setdefault(name, []).append(node)
        return readers

    def maker(self, name: str) -> onnx.NodeProto | None:
        """The node that gives a tensor; None for inputs and constants."""
        return self._makers.get(name)

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that read a tensor, in the graph's order."""
        return self._readers.get(name, [])

    def only_reader(self, name: str, kind: str) -> onnx.NodeProto | None:
        """The node that alone reads a tensor, where it is of this kind and the tensor is no output of the graph."""
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 and readers[0].op_type == kind and name not in self.outputs else None

    def source(self, node: onnx.NodeProto, kind: str) -> onnx.NodeProto | None:
        """The first node of a kind among those that a node reads."""
        makers = (self.maker(name) for name in node.input)
        return next((maker for maker in makers if maker is not None and maker.op_type == kind), None)

    def chain(self, name: str, *kinds: str) -> list[onnx.NodeProto] | None:
        """The nodes above a tensor, of these kinds in turn, the nearest first; None where they are others."""
        found: list[onnx.NodeProto] = []
        for kind in kinds:
            node = self.source(found[-1], kind) if found else self.maker(name)
            if node is None or node.op_type != kind:
                return None
            found.append(node)
        return found

    def below(self, name: str, *kinds: str) -> list[onnx.NodeProto] | None:
        """The nodes below a tensor, of these kinds in turn, each the only reader; None where they are others."""
        found: list[onnx.NodeProto] = []
        for kind in kinds:
            node = self.only_reader(found[-1].output[0] if found else name, kind)
            if node is None:
                return None
            found.append(node)
        return found

    def constant(self, name: str) -> NDArray[Any] | None:
        """The values of a constant; None where a tensor is none."""
        if name in self._constants and name not in self._values:
            self._values[name] = numpy_helper.to_array(self._constants[name])
        return self._values.get(name)

    def add_constant(self, name: str, values: NDArray[Any]) -> str:
        """Adds a constant under a name that must be new; gives the name."""
        if name in self._constants:
            raise ValueError(f"the graph has a constant {name} already")
        values = np.ascontiguousarray(values).reshape(values.shape)
        self._constants[name], self._values[name] = numpy_helper.from_array(values, name), values
        return name

    def replace(self, old: onnx.NodeProto, new: Sequence[onnx.NodeProto]) -> None:
        """Puts nodes in the place of one, whose output the last of them gives."""
        place = next(n for n, node in enumerate(self.nodes) if node is old)
        self.nodes[place : place + 1] = new
        self.changed()

    def changed(self) -> None:
        """To be called after a node was changed in place."""
        self.__dict__.pop("_makers", None)
        self.__dict__.pop("_readers", None)

    def sweep(self) -> None:
        """Drops the nodes that no output depends on."""
        self.nodes = self.above(self.outputs)[0]
        self.changed()

    def above(self, names: Sequence[str]) -> tuple[list[onnx.NodeProto], set[str]]:
        """All nodes that tensors depend on, in the graph's order, and the inputs of the graph among what they read."""
        needed, nodes = set(names), []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                nodes.append(node)
                needed.update(node.input)
        return nodes[::-1], needed.intersection(self.inputs)

    def model(self) -> onnx.ModelProto:
        """The graph as a model, without nodes and constants that no output depends on."""
        self.sweep()
        read = {name for node in self.nodes for name in node.input}
        result = onnx.ModelProto()
        result.CopyFrom(self._model)
        del result.graph.node[:], result.graph.initializer[:]
        result.graph.node.extend(self.nodes)
        result.graph.initializer.extend(value for name, value in self._constants.items() if name in read)
        domains = {used.domain for used in result.opset_import}
        if MICROSOFT not in domains and any(node.domain == MICROSOFT for node in self.nodes):
            result.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
        return result


def attribute(node: onnx.NodeProto, name: str, default: object) -> object:
    """The value of a node's attribute, or what the standard takes where it is not given."""
    found = [helper.get_attribute_value(one) for one in node.attribute if one.name == name]
    return found[0] if found else default
