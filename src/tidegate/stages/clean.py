"""Normalizes every text, ties exact and near duplicates into clusters, and settles conflicting labels.

Rows whose text becomes empty, and those a policy gives up, are taken out and counted. Duplicates stay, marked by
their cluster: which copies are used is for `split` to say.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tidegate import files
from tidegate.errors import DataError
from tidegate.params import Range

if TYPE_CHECKING:
    import polars

    from tidegate.quality.duplicates import Nearness
    from tidegate.text import Normalization

_BATCH = 50_000  # rows normalized at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """When two texts are near duplicates."""

    threshold: Annotated[float, Range(ge=0.5, le=1)]
    """Jaccard similarity of the sets of shingles of their words, from 0 to 1."""
    shingle: Annotated[int, Range(ge=2, le=16)]
    """Characters a shingle."""
    permutations: Annotated[int, Range(ge=16, le=1024)]
    """Hash functions a MinHash signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What is done to the texts."""

    mend_unicode: bool
    """Whether wrongly decoded characters, odd widths, quotes and control characters are mended."""
    strip_markup: bool
    """Whether HTML tags are taken out and entities turned into characters."""
    mask: tuple[Literal["url", "email", "card", "phone"], ...]
    """Kinds of personal data that are replaced by a mask such as `[email]`."""
    max_characters: Annotated[int, Range(ge=100, le=10**9)]
    """Characters a text; longer ones are cut."""
    near: Near
    """When two texts are near duplicates."""
    conflicting: Literal["drop", "majority", "keep"]
    """Of equal texts with different labels: drop all, keep those with the most frequent label, or keep all."""


def run(params: Params, *, valid: Path, clean: Path, normalization: Path, cleaning: Path) -> None:
    """Writes the clean rows, the options that a package has to carry, and what was found."""
    from tidegate.quality.duplicates import Nearness
    from tidegate.text import KINDS, Normalization

    options = Normalization(
        mend_unicode=params.mend_unicode,
        strip_markup=params.strip_markup,
        mask=tuple(kind for kind in KINDS if kind in params.mask),
        max_characters=params.max_characters,
    )
    texts, found = _normalized(valid, options)
    decided, more = decide(_with_texts(valid, texts), Nearness(**dataclasses.asdict(params.near)), params.conflicting)
    if not more["rows_out"]:
        raise DataError(
            str(valid), f"no row is left of {texts.len():,} once texts are normalized",
            "Look at the text column that ingest.select gives, and at clean.conflicting",
        )  # fmt: skip
    _write(clean, valid, texts, decided)
    files.write_json(normalization, dataclasses.asdict(options))
    files.write_json(cleaning, {**found, **more})
    print(_told({**found, **more}))


def _normalized(valid: Path, options: "Normalization") -> tuple["polars.Series", dict[str, Any]]:
    """All texts normalized, a batch at a time, and how many were changed how."""
    import polars

    from tidegate.text import normalize_counted

    changed: Counter[str] = Counter({"mended": 0, "markup_stripped": 0, "cut": 0})
    masked: Counter[str] = Counter(dict.fromkeys(options.mask, 0))
    parts = [polars.Series("text", [], dtype=polars.String)]
    for batch in polars.scan_parquet(valid).select("text").collect_batches(chunk_size=_BATCH, maintain_order=True):
        done = [normalize_counted(text or "", options) for text in batch["text"]]
        changed.update(mended=sum(d.mended for d in done), cut=sum(d.cut for d in done))
        changed.update(markup_stripped=sum(d.stripped for d in done))
        for one in done:
            masked.update(one.masked)
        parts.append(polars.Series("text", [d.text for d in done], dtype=polars.String))
    return polars.concat(parts), {**changed, "masked": dict(masked)}


def _with_texts(valid: Path, texts: "polars.Series") -> "polars.DataFrame":
    import polars

    return polars.scan_parquet(valid).select("id", "label").collect().with_columns(texts)


def decide(rows: "polars.DataFrame", near: "Nearness", conflicting: str) -> tuple["polars.DataFrame", dict[str, Any]]:
    """Which rows stay and to which cluster they belong.

    Args:
        rows: `id`, `label` (null where there is none) and the normalized `text` of each row.
        near: when two texts are near duplicates.
        conflicting: the policy for equal texts with different labels.

    Returns:
        `cluster` a row, in the same order, null where the row goes; and the counts of `cleaning.json`.
    """
    import polars

    from tidegate.quality import duplicates

    rows = rows.with_row_index("place")
    filled = rows.filter(polars.col("text") != "")
    keys = [duplicates.key(text) for text in filled["text"]]
    equals = polars.Series("equal", duplicates.first_of_equals(keys))
    kept, conflicts = _settled(filled.with_columns(equals), conflicting)
    keys = _at(keys, filled["place"].is_in(kept["place"].implode()))
    tied = polars.Series("tied", duplicates.clusters(keys, near))
    kept = kept.with_columns(tied).with_columns(polars.col("id").min().over("tied").alias("cluster"))
    decided = rows.select("place").join(kept.select("place", "cluster"), on="place", how="left", maintain_order="left")
    sizes = kept.group_by("tied").len()["len"]
    return decided.select("cluster"), {
        "rows_in": rows.height,
        "rows_out": kept.height,
        "emptied": rows.height - filled.height,
        "exact_duplicates": kept.height - kept["equal"].n_unique(),
        "near_duplicates": kept["equal"].n_unique() - sizes.len(),
        "clusters": sizes.filter(sizes > 1).len(),
        "largest_cluster": int(sizes.to_numpy().max(initial=0)),
        "conflicting": conflicts,
    }  # fmt: skip


def _at(keys: Sequence[str], keep: "polars.Series") -> list[str]:
    return [key for key, stays in zip(keys, keep, strict=True) if stays]


def _settled(rows: "polars.DataFrame", policy: str) -> tuple["polars.DataFrame", dict[str, Any]]:
    """Rows with conflicting labels settled by the policy; a tie for the majority gives up all of its rows.

    A row without a label has no vote and always stays: its text is as good as another.
    """
    import polars

    votes = rows.filter(polars.col("label").is_not_null()).group_by("equal", "label").len("votes").with_columns(
        polars.len().over("equal").alias("labels"),
        polars.col("votes").max().over("equal").alias("most"),
        (polars.col("votes") == polars.col("votes").max().over("equal")).sum().over("equal").alias("winners"),
    )  # fmt: skip
    agreed = polars.col("labels") == 1
    won = agreed | ((polars.col("votes") == polars.col("most")) & (polars.col("winners") == 1))
    stays = {"drop": agreed, "majority": won, "keep": polars.lit(value=True)}[policy]
    kept = rows.join(votes.filter(~stays), on=["equal", "label"], how="anti", maintain_order="left")
    torn = votes.filter(~agreed)
    return kept, {
        "clusters": torn["equal"].n_unique(),
        "rows": int(torn["votes"].sum()),
        "dropped": rows.height - kept.height,
        "policy": policy,
    }


def _write(clean: Path, valid: Path, texts: "polars.Series", decided: "polars.DataFrame") -> None:
    """The record columns with the new texts and the clusters, streamed from file to file."""
    import polars

    beside = decided.with_columns(texts.alias("_text")).lazy()
    rows = polars.concat([polars.scan_parquet(valid), beside], how="horizontal")
    columns = [name for name in rows.collect_schema() if name != "_text"]
    kept = rows.filter(polars.col("cluster").is_not_null()).with_columns(polars.col("_text").alias("text"))
    with files.replacing(clean) as draft:
        kept.select(columns).sink_parquet(draft, row_group_size=_BATCH, maintain_order=True)


def _told(content: dict[str, Any]) -> str:
    masked = ", ".join(f"{count:,} {kind}" for kind, count in content["masked"].items()) or "nothing"
    conflicts = content["conflicting"]
    return (
        f"{content['rows_in']:,} rows in, {content['rows_out']:,} out ({content['emptied']:,} without text, "
        f"{conflicts['dropped']:,} of {conflicts['rows']:,} with conflicting labels dropped)\n"
        f"changed: Unicode mended in {content['mended']:,} texts, markup stripped in {content['markup_stripped']:,}, "
        f"{content['cut']:,} cut; masked: {masked}\n"
        f"duplicates: {content['exact_duplicates']:,} exact, {content['near_duplicates']:,} near, in "
        f"{content['clusters']:,} clusters of up to {content['largest_cluster']:,} rows"
    )
