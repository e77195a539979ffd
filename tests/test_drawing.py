"""Trees as text: what belongs to what can be seen, in a plain terminal too."""

import io

import pytest

from tidegate.drawing import Node, drawn, needs_plain

TREE = Node("a", [Node("b", [Node("c"), Node("d")]), Node("e …", [Node("f")])])


def test_a_tree_shows_what_belongs_to_what() -> None:
    assert list(drawn(TREE, plain=False)) == ["a", "├ b", "│ ├ c", "│ └ d", "└ e …", "  └ f"]


def test_a_plain_tree_is_ascii_and_has_the_same_shape() -> None:
    lines = list(drawn(TREE, plain=True))
    assert lines == ["a", "|- b", "|  |- c", "|  `- d", "`- e \\u2026", "   `- f"]
    assert "\n".join(lines).isascii()


@pytest.mark.parametrize(("encoding", "plain"), [("utf-8", False), ("ascii", True), ("latin-1", True)])
def test_a_stream_that_cannot_show_the_lines_needs_a_plain_tree(encoding: str, *, plain: bool) -> None:
    assert needs_plain(io.TextIOWrapper(io.BytesIO(), encoding=encoding)) is plain
