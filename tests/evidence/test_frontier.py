"""The picture of the candidates."""

from pathlib import Path
from xml.etree import ElementTree

from matplotlib.figure import Figure

from tidegate.evidence.frontier import Point, draw, put_names

POINTS = [
    Point(
        name="teacher", accuracy=0.77, low=0.75, high=0.79, latency_ms=8.0, megabytes=91.6, on_frontier=True,
        chosen=False,
    ),
    Point(
        name="student_int8", accuracy=0.76, low=0.76, high=0.76, latency_ms=1.0, megabytes=7.0, on_frontier=True,
        chosen=True,
    ),
]  # fmt: skip


def test_equal_points_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        draw(tmp_path / name, POINTS, rows=100, floor=0.75)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_each_candidate_is_named_with_its_size(tmp_path: Path) -> None:
    draw(tmp_path / "a.svg", POINTS, rows=1_234, floor=None)
    ElementTree.parse(tmp_path / "a.svg")  # it is whole
    comments = (tmp_path / "a.svg").read_text(encoding="utf-8")  # letters are drawn, and named in comments
    for word in ("teacher", "91.6 MB", "student_int8", "7.0 MB", "1,234 validation rows"):
        assert word in comments
    assert "reference minus margin" not in comments


def test_no_name_covers_another() -> None:
    near = {"teacher_int8": 2.19, "teacher_dynamic": 2.09, "student_pruned": 2.18, "student_int8": 1.48, "pruned": 1.27}
    points = [
        Point(
            name=named, accuracy=0.76 + 0.001 * place, low=0.75, high=0.77, latency_ms=latency, megabytes=10.2,
            on_frontier=True, chosen=False,
        )
        for place, (named, latency) in enumerate(near.items())
    ]  # fmt: skip
    figure = Figure(figsize=(8, 4.8))
    axes = figure.add_subplot()
    axes.scatter([point.latency_ms for point in points], [point.accuracy for point in points])
    axes.set_ylim(0.74, 0.78)
    axes.set_xlim(1, 3)
    boxes = put_names(axes, points)
    assert len(boxes) == len(points)
    assert not [(a, b) for a in boxes for b in boxes if a is not b and a.overlaps(b)]
