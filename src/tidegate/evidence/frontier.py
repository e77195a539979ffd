"""The picture of the candidates: quality against time, size as area, the frontier and the choice marked.

It decides nothing; `stages/select.py` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from tidegate import files

_PLACES = ((7, 5), (7, -22), (-7, 5), (-7, -22), (7, 30), (7, -47))
"""Where a name may stand, in points from its own."""
_CHOSEN, _FRONTIER, _OTHER = "#c2410c", "#1d4ed8", "#94a3b8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One candidate."""

    name: str
    accuracy: float
    """On validation, share of rows."""
    low: float
    high: float
    """Ends of its interval; the accuracy itself where there is none."""
    latency_ms: float
    """Median of one text."""
    megabytes: float
    on_frontier: bool
    chosen: bool


def draw(path: Path, points: Sequence[Point], *, rows: int, floor: float | None) -> None:
    """Writes an SVG; equal points give equal bytes.

    Args:
        rows: validation rows behind each accuracy.
        floor: the reference's accuracy minus the margin, drawn as a line; None draws none.
    """
    with mpl.rc_context({"svg.hashsalt": "frontier", "font.size": 9}):
        figure = Figure(figsize=(8, 4.8), layout="constrained")
        axes = figure.add_subplot()
        for point in points:
            colour = _colour(point)
            ends = ([point.accuracy - point.low], [point.high - point.accuracy])
            axes.errorbar(point.latency_ms, point.accuracy, yerr=ends, color=colour, alpha=0.35, zorder=1)
            axes.scatter(
                point.latency_ms, point.accuracy, s=30 + 6 * point.megabytes, color=colour, alpha=0.7, zorder=2
            )
        if floor is not None:
            axes.axhline(floor, color=_OTHER, linewidth=0.8, linestyle="--")
            axes.annotate(
                "reference minus margin", (1, floor), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                fontsize=8, color=_OTHER,
            )  # fmt: skip
        axes.set_xscale("log")
        for ticks in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            ticks("{x:g}")
        axes.set_xlabel("median time of one text, milliseconds (log scale)")
        axes.set_ylabel(f"accuracy on {rows:,} validation rows, with its 95 % interval")
        axes.set_title("Candidates: orange is chosen, blue is on the frontier, area is size", fontsize=9, loc="left")
        axes.margins(x=0.15, y=0.1)
        figure.draw_without_rendering()  # lays it out: where a name stands is known only then
        put_names(axes, points)
        with files.replacing(path) as draft:
            figure.savefig(draft, format="svg", metadata={"Date": None, "Creator": None})


def put_names(axes: Axes, points: Sequence[Point]) -> list[Bbox]:
    """Puts its name beside each point, where it covers no other name if there is such a place; where they stand."""
    taken: list[Bbox] = []
    for point in sorted(points, key=lambda one: one.latency_ms):
        for x, y in _PLACES:
            text = axes.annotate(
                f"{point.name}\n{point.megabytes:,.1f} MB", (point.latency_ms, point.accuracy), xytext=(x, y),
                textcoords="offset points", ha="left" if x > 0 else "right", fontsize=8, color=_colour(point),
            )  # fmt: skip
            box = text.get_window_extent()
            if (x, y) == _PLACES[-1] or not any(box.overlaps(other) for other in taken):
                break
            text.remove()
        taken.append(box)
    return taken


def _colour(point: Point) -> str:
    return _CHOSEN if point.chosen else _FRONTIER if point.on_frontier else _OTHER
