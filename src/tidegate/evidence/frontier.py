"""The picture of the candidates: quality against time, size as area, the frontier and the choice marked.

It decides nothing; `stages/select.py` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from tidegate import files

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
        for place, point in enumerate(sorted(points, key=lambda one: one.latency_ms)):
            colour = _CHOSEN if point.chosen else _FRONTIER if point.on_frontier else _OTHER
            ends = ([point.accuracy - point.low], [point.high - point.accuracy])
            axes.errorbar(point.latency_ms, point.accuracy, yerr=ends, color=colour, alpha=0.35, zorder=1)
            axes.scatter(
                point.latency_ms, point.accuracy, s=30 + 6 * point.megabytes, color=colour, alpha=0.7, zorder=2
            )
            axes.annotate(
                f"{point.name}\n{point.megabytes:,.1f} MB", (point.latency_ms, point.accuracy), fontsize=8,
                xytext=(7, -22 if place % 2 else 5), textcoords="offset points", color=colour,
            )  # fmt: skip
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
        with files.replacing(path) as draft:
            figure.savefig(draft, format="svg", metadata={"Date": None, "Creator": None})
