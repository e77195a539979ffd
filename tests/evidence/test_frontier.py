"""The picture of the candidates."""

from pathlib import Path
from xml.etree import ElementTree

from tidegate.evidence.frontier import Point, draw

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
