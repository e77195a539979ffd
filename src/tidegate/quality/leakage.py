"""What leaks between the splits: groups, equal texts and near duplicates that stand in several of them.

Pure, and without the clusters that `clean` made, so that it finds what those missed. What to do about it is not decided
here.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from tidegate.quality import duplicates
from tidegate.quality.duplicates import Nearness, Pair

_EXAMPLES = 5  # pairs of ids shown of each kind
_SIDES = {"unlabelled": "train"}  # parts that are learned from together, so that nothing leaks between them


def leaks(parts: Mapping[str, pl.DataFrame], near: Nearness) -> dict[str, Any]:
    """Groups, equal texts and near duplicates that stand in several parts; `train` and `unlabelled` are one.

    Args:
        parts: by split (and `unlabelled`: further rows to learn from), `id`, `group` and `text`.
        near: when two texts are near duplicates.

    Returns:
        The counts (of groups, and of pairs of texts, a text once a split), and the first examples by id.
    """
    rows = pl.concat([part.with_columns(split=pl.lit(name)) for name, part in parts.items()])
    rows = rows.with_columns(side=pl.col("split").replace(_SIDES))
    number = {name: i for i, name in enumerate(rows["side"].unique(maintain_order=True))}
    sides = rows["side"].replace_strict(number, return_dtype=pl.Int8).to_numpy()
    keys = [duplicates.key(text) for text in rows["text"]]
    exact, close = duplicates.crossing(keys, sides, near)
    torn = _torn(rows)
    kinds: dict[str, list[Pair]] = {"group": torn, "exact": exact, "near": close}
    return {
        "groups_crossing": len(torn),
        "exact_crossing": len(exact),
        "near_crossing": len(close),
        "threshold": near.threshold,
        "examples": [_example(kind, pair, rows) for kind, pairs in kinds.items() for pair in pairs[:_EXAMPLES]],
    }


def _torn(rows: pl.DataFrame) -> list[Pair]:
    """For each group on several sides its first row and the first one on another side."""
    firsts = rows.with_row_index("place").group_by("group", "side").agg(pl.col("place").min()).sort("place")
    torn = firsts.group_by("group", maintain_order=True).agg("place").filter(pl.col("place").list.len() > 1)
    return [Pair(places[0], places[1], 1.0) for places in torn["place"]]


def _example(kind: str, pair: Pair, rows: pl.DataFrame) -> dict[str, Any]:
    places = [pair.first, pair.second]
    shown = {"kind": kind, "ids": rows["id"][places].to_list(), "splits": rows["split"][places].to_list()}
    return shown if kind == "group" else {**shown, "similarity": round(pair.similarity, 3)}
