"""A text falls into parts, each is left out once, and the weight is what the label loses."""

import pytest

from tidegate.serving import explain


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("", 3, []),
        ("one", 3, ["one"]),
        ("a b c", 3, ["a", "b", "c"]),
        ("a b c d e", 3, ["a", "b c", "d e"]),
        ("a b c d", 1, ["a b c d"]),
    ],
)
def test_a_text_is_covered_by_its_parts(text: str, most: int, expected: list[str]) -> None:
    assert explain.parts(text, most) == expected


def test_each_part_is_left_out_once() -> None:
    assert explain.without_each(["a", "b c", "d"]) == ["b c d", "a d", "a b c"]


def test_the_weight_is_what_the_label_of_the_whole_loses() -> None:
    assert explain.weights([0.25, 0.75], [[0.5, 0.5], [0.125, 0.875]]) == [0.25, -0.125]
