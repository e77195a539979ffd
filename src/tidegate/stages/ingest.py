"""Reads the sources and the pinned feedback snapshot into `records.parquet` and a manifest of where they came from.

What is wrong with a row is `validate`'s business: here rows are only read, shaped, named and sampled.
"""

import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tidegate import files
from tidegate.errors import DataError, ParamsError, SourceError
from tidegate.params import Range, bind

if TYPE_CHECKING:
    import duckdb

_FILE_COLUMNS = {"id", "text", "label", "group", "origin", "received_at", "split", "row"}

SOURCE_DEFAULTS: dict[str, Any] = {
    "name": None,  # the file's name
    "format": None,  # by the file's name
    "delimiter": None,  # of CSV: by the first line
    "header": None,  # true
    "columns": None,  # by the first line; column1, column2, … where there is no header
    "quote": None,  # '"'
    "encoding": None,  # UTF-8, or what a byte order mark states
    "licence": None,  # not stated
    "citation": None,  # not stated
}
"""What a source in params.yaml may leave out: every key but `address`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One table of the world."""

    name: str | None
    """What `select` calls the table: letters, digits and underscores."""
    address: Annotated[str, Range(ge=1)]
    """A file below data/raw, wheel://NAME==VERSION/path?sha256=…, or hf://datasets/OWNER/NAME@REVISION/path."""
    format: Literal["csv", "tsv", "jsonl", "parquet"] | None
    """How the file is written."""
    delimiter: Annotated[str, Range(ge=1, le=1)] | None
    """The one character between cells of CSV."""
    header: bool | None
    """Whether the first line of CSV or TSV names the columns."""
    columns: Annotated[list[str], Range(ge=1)] | None
    """Names of the columns, in place of those in the first line."""
    quote: Annotated[str, Range(le=1)] | None
    """The character around cells that hold a delimiter or a line end; "" where nothing is quoted."""
    encoding: str | None
    """As Python names it: utf-8, cp1252, latin-1, utf-16, …"""
    licence: str | None
    """What the data's owner allows; kept in the manifest."""
    citation: str | None
    """Whom to cite; kept in the manifest."""

    def problems(self) -> Iterator[str]:
        """What types and ranges do not say."""
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.name or ""):
            yield f"name must be letters, digits and underscores, is {self.name!r}"
        try:
            "".encode(self.encoding or "utf-8")
        except (LookupError, ValueError):
            yield f"encoding {self.encoding!r} is not known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What the records are made of."""

    task: str
    """The name of what is classified: letters, digits, hyphens and underscores."""
    sources: Annotated[list[dict[str, Any]], Range(ge=1)]
    """Each an address and what `Source` lets one say of it; what is left out is inferred, and said."""
    select: str | None
    """A DuckDB SELECT that shapes the sources' tables into records; null takes the only source as it is."""
    slices: list[str]
    """Columns by which quality is reported apart."""
    max_rows: Annotated[int, Range(ge=1)] | None
    """Rows; at most so many come from the sources, in whole groups. Null takes all. Feedback comes on top."""
    seed: Annotated[int, Range(ge=0, lt=2**31)]
    """Salt of the order in which groups are sampled."""

    def tables(self) -> list[Source]:
        """The sources, with `SOURCE_DEFAULTS` filled in.

        Raises:
            ParamsError: some are ill-formed; names every problem.
        """
        bound: list[Source] = []
        problems: list[str] = []
        for i, raw in enumerate(self.sources):
            filled = {**SOURCE_DEFAULTS, **raw}
            filled["name"] = filled["name"] or _name(filled.get("address"))
            try:
                bound.append(bind(Source, filled, section=f"sources[{i}]"))
            except ParamsError as error:
                problems.extend(error.problems)
        if problems:
            raise ParamsError("params.yaml", problems)
        return bound

    def problems(self) -> Iterator[str]:
        """What spans several keys, and what is wrong inside a source."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", self.task):
            yield f"task must be letters, digits, hyphens and underscores, is {self.task!r}"
        if taken := sorted({name.casefold() for name in self.slices} & _FILE_COLUMNS):
            yield f"slices: {taken[0]!r} is a column of every record and no slice"
        if len({name.casefold() for name in self.slices}) < len(self.slices):
            yield "slices: a column is named twice"
        if self.select is None and len(self.sources) > 1:
            yield f"select: must say how the {len(self.sources)} sources become one table, is null"
        try:
            names = [str(source.name).casefold() for source in self.tables()]
        except ParamsError as error:
            yield from error.problems
        else:
            if twice := sorted({name for name in names if names.count(name) > 1}):
                yield f"sources: two are named {twice[0]!r}; set their `name`"


def _name(address: object) -> str:
    stem = str(address).split("?")[0].rstrip("/").rsplit("/", 1)[-1].split(".")[0]
    return re.sub(r"^(?=\d)|[^A-Za-z0-9_]", "_", stem) or "source"


def run(params: Params, *, inputs: Mapping[str, Any], raw: Path, records: Path, manifest: Path) -> None:
    """Writes the records and their manifest.

    `inputs["feedback"]` is the digest of a feedback snapshot in `var/feedback/`, or None.

    Raises:
        SourceError: a source cannot be fetched or read.
        DataError: the rows do not make records, or the feedback snapshot is not what its digest says.
        ParamsError: `select` does not fit the sources.
    """
    from tidegate.intake import shaping, tables

    feedback = _feedback(inputs["feedback"])
    with _scratch(records.parent) as folder:
        database = folder / "ingest.duckdb"
        with tables.connect(database) as connection:
            sources, inferred = _read(connection, params.tables(), raw, folder)
            table = f"main.{tables.identifier(sources[0]['name'])}"
            if params.select is not None:
                table = tables.select(connection, params.select, key="ingest.select")
        with tables.connect(database) as connection:
            shaped = shaping.complete(connection, table, params.slices)
            taken, groups = shaping.sample(connection, params.max_rows, params.seed)
            rows, columns = shaping.write(connection, records, shaped, params.slices, feedback)
    _say([*inferred, *shaped.notes])
    _say([f"{taken:,} of {shaped.rows:,} records taken, in {groups:,} of {shaped.groups:,} groups"])
    _say([f"{rows - taken:,} records added from feedback"] if feedback else [])
    files.write_json(manifest, {
        "task": params.task, "rows": rows, "columns": columns, "slices": params.slices, "sources": sources,
        "feedback": inputs["feedback"], "inferred": [*inferred, *shaped.notes],
        "sampled": {"of": shaped.rows, "seed": params.seed} if taken < shaped.rows else None,
    })  # fmt: skip


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """A folder on the disk of the artifacts, for the copies and the database."""
    try:
        with files.scratch(parent, "ingest") as folder:
            yield folder
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DataError(str(parent), "no space is left on the disk", "Free some and run again") from error


def _say(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        print(f"ingest: {sentence}", flush=True)


def _read(
    connection: "duckdb.DuckDBPyConnection", sources: list[Source], raw: Path, scratch: Path
) -> tuple[list[dict[str, Any]], list[str]]:
    """Makes a table of each source; returns what the manifest says of each, and what was inferred."""
    entries, inferred = [], []
    for source in sources:
        entry, notes = _read_one(connection, source, raw, scratch)
        _say([f"{entry['name']}: {entry['rows']:,} rows, {entry['bytes']:,} bytes"])
        entries.append(entry)
        inferred.extend(notes)
    return entries, inferred


def _read_one(
    connection: "duckdb.DuckDBPyConnection", source: Source, raw: Path, scratch: Path
) -> tuple[dict[str, Any], list[str]]:
    from tidegate.intake import sources, tables

    if "://" not in source.address:
        _check_place(source.address, raw)
    file, name = sources.fetch(source.address), str(source.name)
    layout = tables.Layout(
        format=source.format, delimiter=source.delimiter, header=source.header,
        columns=source.columns, quote=source.quote, encoding=source.encoding,
    )  # fmt: skip
    notes = tables.read(connection, name, file, layout, scratch)
    entry = {
        "name": name, "address": source.address, "sha256": files.sha256(file), "bytes": file.stat().st_size,
        "rows": tables.count(connection, name), "licence": source.licence, "citation": source.citation,
    }  # fmt: skip
    loose = sources.unpinned(source.address)
    return entry, [*notes, *([loose] if loose else [])]


def _check_place(address: str, raw: Path) -> None:
    """A file elsewhere would be no dependency of the stage: its change would go unseen."""
    if raw.absolute() not in Path(os.path.abspath(address)).parents:  # noqa: PTH100 (resolve would follow links)
        raise SourceError(address, f"does not lie in {raw}, where changes are seen", f"Put it there: {raw}/NAME")


def _feedback(digest: str | None) -> Path | None:
    if digest is None:
        return None
    snapshot = files.var_folder() / "feedback" / f"{digest}.parquet"
    if not snapshot.is_file():
        cause, remedy = (
            "the snapshot pinned in inputs.yaml is missing",
            "Restore var/ from its backup, or set it to null",
        )
        raise DataError(f"feedback {digest}", cause, remedy)
    if (found := files.sha256(snapshot)) != digest:
        raise DataError(f"feedback {digest}", f"the snapshot's sha256 is {found}", "Restore var/ from its backup")
    return snapshot
