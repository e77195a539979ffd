"""Words, tables and figures as Markdown (CommonMark with tables). Whatever comes from data is escaped here.

Nothing here knows what a card is about.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tidegate.report import interval


class Raw(str):
    """Markdown that we wrote ourselves, and that is not escaped again."""

    __slots__ = ()


def plain(text: object) -> str:
    """A text as itself: no character of it means anything in Markdown or HTML, and it is one line.

    >>> plain("a|b <i> *c*")
    'a\\\\|b \\\\<i\\\\> \\\\*c\\\\*'
    """
    if isinstance(text, Raw):
        return text
    line = " ".join(str(text).split())
    line = re.sub(r"[\\`*\[\]<>|~&]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", line)
    line = re.sub(r"(?<=\w):(?=//)|@", lambda found: f"\\{found[0]}", line)  # no link is made of an address
    return re.sub(r"^(\d*)([-+=#.)])(?=[-=#\s]|$)", r"\1\\\2", line)  # neither a list nor a heading


def code(text: object) -> Raw:
    """A digest, an address or a name, in the letters of a machine."""
    line = " ".join(str(text).split()).replace("|", "\\|")
    ticks = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    space = " " if "`" in line or not line else ""
    return Raw(f"{ticks}{space}{line}{space}{ticks}")


def strong(text: object) -> Raw:
    """What stands out."""
    return Raw(f"**{plain(text)}**")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table, its cells escaped; columns after the first are aligned to the right where all cells are figures."""
    cells = [[plain(cell) for cell in row] for row in rows]
    figures = [all(re.match(r"^([\d+-]|$)", row[n]) for row in cells) for n in range(len(header))]
    marks = ["---:" if n and figures[n] else "---" for n in range(len(header))]
    return "\n".join(f"| {' | '.join(row)} |" for row in [list(map(plain, header)), marks, *cells])


def bullets(sentences: Iterable[object]) -> str:
    """A list, its entries escaped."""
    return "\n".join(f"- {plain(sentence)}" for sentence in sentences)


def listed(names: Iterable[object], last: str = "and") -> str:
    """`a, b and c`, not escaped."""
    *first, final = [str(name) for name in names] or ["none"]
    return f"{', '.join(first)} {last} {final}" if first else final


def metric(value: Mapping[str, Any], *, signed: bool = False) -> str:
    """A figure with its 95 % interval."""
    return interval(value, signed=signed)


def share(value: float | None) -> str:
    """Of one, in percent."""
    if value is None:
        return "not known"
    return f"{100 * value:.1f} %" if value >= 0.001 or not value else f"{100 * value:.1g} %"


def duration(seconds: float) -> str:
    """Seconds as a person reads them."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
