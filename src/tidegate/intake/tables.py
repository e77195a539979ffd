"""Files become DuckDB tables: CSV, TSV, JSON lines and Parquet, in bounded memory; and a user's SELECT over them.

What a layout leaves open is inferred and said. What the tables mean is the caller's business.
"""

# ruff: noqa: S608  (names and texts go into SQL through `identifier` and `literal` alone)

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import duckdb

from tidegate.errors import DataError, ParamsError, SourceError
from tidegate.intake import plaintext
from tidegate.intake.duckdb_errors import cause, explained, is_full, without_values

LONGEST = 2_000_000
"""Bytes that a line of a CSV or TSV file may have; what is longer is an unclosed quote or no text of people."""

WORK = "work"
"""The schema of the tables that are not a user's; it comes before the users' once `USE`d."""

_FORMATS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_SETTINGS: dict[str, str | int | float | list[str]] = {
    "threads": 1,  # one thread gives one order, so that equal input gives equal bytes
    "memory_limit": "512MB",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a file holds its table. None is inferred by `read`, which says what it found."""

    format: str | None = None
    delimiter: str | None = None
    header: bool | None = None
    columns: Sequence[str] | None = None
    quote: str | None = None
    encoding: str | None = None


def connect(database: Path) -> duckdb.DuckDBPyConnection:
    """Opens a DuckDB file that works in little memory, spills beside itself, and installs nothing.

    Raises:
        DataError: the disk is full.
    """
    try:
        connection = duckdb.connect(str(database), config={**_SETTINGS, "temp_directory": f"{database}.spill"})
        connection.execute(f"SET TimeZone = 'UTC'; CREATE SCHEMA IF NOT EXISTS {WORK}")
    except duckdb.OperationalError as error:
        if not is_full(error):
            raise
        raise DataError(str(database.parent), "no space is left on the disk", "Free some and run again") from error
    return connection


def count(connection: duckdb.DuckDBPyConnection, name: str) -> int:
    """Rows of a table."""
    (rows,) = connection.execute(f"SELECT count(*) FROM main.{identifier(name)}").fetchone() or (0,)
    return int(rows)


def identifier(name: str) -> str:
    """A name as SQL takes it, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL takes it, whatever it holds."""
    return "'" + text.replace("'", "''") + "'"


def columns(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """Column names of a table or of a table function's call, with their types, in order."""
    return {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}


# --- reading


def read(connection: duckdb.DuckDBPyConnection, name: str, path: Path, layout: Layout, scratch: Path) -> list[str]:
    """Makes the table `name` of a file's rows, in their order, and tells in sentences what it inferred.

    The cells of CSV, TSV and JSON lines are text (an empty cell is null); Parquet keeps its types.
    `scratch` is a folder that has room for a copy of the file.

    Raises:
        SourceError: the file cannot be read as its layout says.
        DataError: the disk is full.
    """
    try:
        return _read(connection, name, path, layout, scratch)
    except (DataError, SourceError) as error:
        raise type(error)(f"{name} ({path})", error.cause, error.remedy) from error


def _read(connection: duckdb.DuckDBPyConnection, name: str, path: Path, layout: Layout, scratch: Path) -> list[str]:
    kind = layout.format or _format(name, path)
    notes = [] if layout.format else [f"{name}: format {kind}, by the file's name"]
    if path.is_dir():
        raise SourceError(name, f"{path.name} is a folder", "Address a file")
    if kind == "parquet":
        _only(name, kind, layout, "delimiter", "header", "columns", "quote", "encoding")
        _create(connection, name, f"read_parquet({literal(str(path))}, binary_as_string = true)")
        return notes
    encoding = layout.encoding or plaintext.encoding_of(path, what=name)
    notes += [] if layout.encoding else [f"{name}: encoding {encoding}"]
    copy = scratch / f"{name}.txt"
    try:
        plaintext.copy(path, copy, encoding=encoding, what=name)
        read_text = _read_lines if kind == "jsonl" else _read_cells
        return notes + read_text(connection, name, copy, replace(layout, format=kind))
    finally:
        copy.unlink(missing_ok=True)


def _format(name: str, path: Path) -> str:
    for suffix in reversed(path.suffixes):
        if kind := _FORMATS.get(suffix.lower()):
            return kind
    raise SourceError(name, f"the name {path.name} tells no format", "Set its `format`: csv, tsv, jsonl or parquet")


def _only(name: str, kind: str, layout: Layout, *foreign: str) -> None:
    if given := [key for key in foreign if getattr(layout, key) is not None]:
        raise SourceError(name, f"{', '.join(given)} says nothing about a {kind} file", "Take it out of the source")


def _create(connection: duckdb.DuckDBPyConnection, name: str, relation: str) -> None:
    with explained(name):
        connection.execute(f"CREATE TABLE main.{identifier(name)} AS SELECT * FROM {relation}")


# --- CSV and TSV


def _read_cells(connection: duckdb.DuckDBPyConnection, name: str, path: Path, layout: Layout) -> list[str]:
    quote = '"' if layout.quote is None else layout.quote
    header = layout.header is not False
    delimiter = layout.delimiter or ("\t" if layout.format == "tsv" else _delimiter(name, path, quote))
    names = _names(name, path, delimiter, quote, header, layout.columns)
    kinds = ", ".join(f"{literal(column)}: 'VARCHAR'" for column in names)
    _create(connection, name, (
        f"read_csv({literal(str(path))}, auto_detect = false, columns = {{{kinds}}}, header = {header}, "
        f"delim = {literal(delimiter)}, quote = {literal(quote)}, escape = {literal(quote)}, "
        f"max_line_size = {LONGEST}, strict_mode = true, compression = 'none')"
    ))  # fmt: skip
    notes = (
        [] if layout.delimiter or layout.format == "tsv" else [f"{name}: delimiter {delimiter!r}, by the first line"]
    )
    return notes + ([] if layout.columns else [f"{name}: columns {', '.join(names)}"])


def _first(name: str, path: Path, delimiter: str, quote: str) -> list[str]:
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    with path.open(encoding="utf-8", newline="") as stream:
        lines = iter(lambda: stream.readline(LONGEST), "")
        try:
            return next(csv.reader(lines, delimiter=delimiter, quotechar=quote or None, quoting=quoting), [])
        except csv.Error as error:
            remedy = "Look at its start: is it this format, with these quotes?"
            raise SourceError(name, f"the first line gives no cells ({error})", remedy) from None


def _delimiter(name: str, path: Path, quote: str) -> str:
    return max(",;\t|", key=lambda delimiter: len(_first(name, path, delimiter, quote)))


def _names(
    name: str, path: Path, delimiter: str, quote: str, header: bool, given: Sequence[str] | None
) -> Sequence[str]:
    cells = _first(name, path, delimiter, quote)
    if given and cells and len(given) != len(cells):
        cause = f"`columns` names {len(given)}, its first line has {len(cells)} cells (delimiter {delimiter!r})"
        raise SourceError(name, cause, "Name each column, or correct the delimiter")
    generated = [f"column{i}" for i in range(1, len(cells) + 1)]
    found = given or (
        [cell.strip() or other for cell, other in zip(cells, generated, strict=True)] if header else generated
    )
    if twice := sorted({column for column in found if [c.casefold() for c in found].count(column.casefold()) > 1}):
        raise SourceError(name, f"two columns are named {twice[0]!r}", "Name them apart in `columns`")
    return found or ["column1"]


# --- JSON lines


def _read_lines(connection: duckdb.DuckDBPyConnection, name: str, path: Path, layout: Layout) -> list[str]:
    _only(name, "jsonl", layout, "delimiter", "header", "columns", "quote")
    file = f"{literal(str(path))}, format = 'newline_delimited', records = 'true', maximum_object_size = {LONGEST}"
    with explained(name):
        names = list(columns(connection, f"read_json({file}, sample_size = -1, maximum_depth = 1)"))
    kinds = ", ".join(f"{literal(column)}: 'VARCHAR'" for column in names)
    _create(connection, name, f"read_json({file}, columns = {{{kinds}}})")
    return [f"{name}: columns {', '.join(names)}"]


# --- a user's SELECT


def select(connection: duckdb.DuckDBPyConnection, query: str, *, key: str) -> str:
    """Makes a table of a user's SELECT, which sees the tables and nothing of the machine; returns its name.

    From then on the connection reaches no file, no network and no setting; open another one to go on. `key` is
    where the query stands, for messages.

    Raises:
        ParamsError: `query` is not one SELECT, or does not fit the tables.
        DataError: a value does not bear what `query` does with it.
    """
    try:
        statements = connection.extract_statements(query)
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            raise ParamsError("params.yaml", [f"{key}: must be one SELECT and nothing else"])
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        connection.execute(f"CREATE TABLE {WORK}.shaped AS {query}")
    except (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException) as error:
        raise DataError(
            key, without_values(error), "Correct the query (TRY_CAST gives null where CAST fails)"
        ) from error
    except duckdb.OperationalError as error:
        raise DataError(key, cause(error), "Free space on the disk, or ask for less") from error
    except duckdb.Error as error:
        raise ParamsError("params.yaml", [f"{key}: {cause(error)}"]) from error
    return f"{WORK}.shaped"
