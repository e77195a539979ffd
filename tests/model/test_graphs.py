"""A graph that is rewritten: who gives and reads a tensor, and what nobody reads is swept out."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tidegate.model.graphs import MICROSOFT, Graph, attribute


@pytest.fixture
def model() -> onnx.ModelProto:
    """out = relu(x + two) * three; beside it a branch that nobody reads."""
    nodes = [
        helper.make_node("Add", ["x", "two"], ["sum"], name="add"),
        helper.make_node("Relu", ["sum"], ["positive"], name="relu"),
        helper.make_node("Neg", ["sum"], ["unread"], name="neg"),
        helper.make_node("Mul", ["positive", "three"], ["out"], name="mul"),
    ]
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "out")}
    constants = [
        numpy_helper.from_array(np.array([number, number], dtype=np.float32), name)
        for name, number in (("two", 2), ("three", 3), ("unused", 4))
    ]
    return helper.make_model(helper.make_graph(nodes, "g", [values["x"]], [values["out"]], constants))


def names(nodes: list[onnx.NodeProto]) -> list[str]:
    return [node.name for node in nodes]


def test_who_gives_and_who_reads(model: onnx.ModelProto) -> None:
    graph = Graph(model)
    assert graph.maker("sum").name == "add"
    assert graph.maker("x") is None
    assert names(graph.readers("sum")) == ["relu", "neg"]
    assert graph.readers("out") == []
    assert graph.source(graph.nodes[3], "Relu").name == "relu"
    assert graph.source(graph.nodes[3], "Add") is None


def test_only_a_sole_reader_of_the_kind_counts(model: onnx.ModelProto) -> None:
    graph = Graph(model)
    assert graph.only_reader("positive", "Mul").name == "mul"
    assert graph.only_reader("positive", "Add") is None
    assert graph.only_reader("sum", "Relu") is None  # two read it
    graph.outputs.append("positive")
    assert graph.only_reader("positive", "Mul") is None  # the world reads it


def test_chains_go_up_and_down_or_are_none(model: onnx.ModelProto) -> None:
    graph = Graph(model)
    assert names(graph.chain("out", "Mul", "Relu", "Add")) == ["mul", "relu", "add"]
    assert graph.chain("out", "Mul", "Add") is None
    assert names(graph.below("positive", "Mul")) == ["mul"]
    assert graph.below("sum", "Relu", "Mul") is None


def test_constants_are_read_and_added_once(model: onnx.ModelProto) -> None:
    graph = Graph(model)
    assert graph.constant("two").tolist() == [2, 2]
    assert graph.constant("sum") is None
    assert graph.add_constant("scale", np.array(0.5)) == "scale"
    assert graph.constant("scale").shape == ()
    with pytest.raises(ValueError, match="has a constant two already"):
        graph.add_constant("two", np.zeros(1))


def test_what_no_output_depends_on_is_swept_out_and_the_model_stays_as_it_was(model: onnx.ModelProto) -> None:
    made = Graph(model).model()
    assert names(made.graph.node) == ["add", "relu", "mul"]
    assert sorted(value.name for value in made.graph.initializer) == ["three", "two"]
    assert len(model.graph.node) == 4
    onnx.checker.check_model(made)


def test_a_node_is_replaced_in_its_place(model: onnx.ModelProto) -> None:
    graph = Graph(model)
    new = [
        helper.make_node("Abs", ["sum"], ["size"], name="abs"),
        helper.make_node("Fast", ["size"], ["positive"], name="fast", domain=MICROSOFT),
    ]
    graph.replace(graph.nodes[1], new)
    assert names(graph.nodes) == ["add", "abs", "fast", "neg", "mul"]
    assert graph.maker("positive").name == "fast"
    assert MICROSOFT in {used.domain for used in graph.model().opset_import}


def test_what_tensors_depend_on_is_found_with_the_inputs_it_reads(model: onnx.ModelProto) -> None:
    nodes, inputs = Graph(model).above(["positive"])
    assert names(nodes) == ["add", "relu"]
    assert inputs == {"x"}


def test_an_attribute_has_the_value_that_the_standard_takes() -> None:
    node = helper.make_node("Softmax", ["x"], ["y"], axis=1)
    assert attribute(node, "axis", -1) == 1
    assert attribute(helper.make_node("Softmax", ["x"], ["y"]), "axis", -1) == -1
