"""Trees as text for a terminal, with lines of a box or in ASCII alone. What a tree is about is the caller's matter."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO


@dataclass
class Node:
    """A line and what belongs to it."""

    text: str
    children: list["Node"] = field(default_factory=list)


def needs_plain(stream: TextIO) -> bool:
    """Whether a stream cannot show what a tree is drawn with."""
    try:
        "├└│…".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return True
    return False


def drawn(node: Node, *, plain: bool) -> Iterator[str]:
    """The lines of a tree; where `plain`, every character of them is one of ASCII."""
    middle, last, down = ("|- ", "`- ", "|  ") if plain else ("├ ", "└ ", "│ ")
    yield node.text.encode("ascii", "backslashreplace").decode() if plain else node.text
    for place, child in enumerate(node.children, 1):
        ends = place == len(node.children)
        first, *rest = drawn(child, plain=plain)
        yield (last if ends else middle) + first
        yield from ((" " * len(down) if ends else down) + line for line in rest)
