"""A shaped table becomes records: ids and groups completed, whole groups sampled, feedback added, Parquet written.

All of it runs inside DuckDB, in the table's order and in bounded memory. Nothing here knows where rows come from.
"""

# ruff: noqa: S608  (names and texts go into SQL through `identifier` and `literal` alone)

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from tidegate import files
from tidegate.errors import DataError
from tidegate.intake.duckdb_errors import cause, without_values
from tidegate.intake.tables import WORK, columns, identifier, literal

CORE = ("id", "text", "label", "group")
OPTIONAL = {"received_at": "TIMESTAMPTZ", "split": "VARCHAR"}
LONGEST_CELL = 1_000_000
"""Bytes that a text, label, id or group may have."""

_DIGITS = 20
"""Hexadecimal digits of a derived id: at 80 bits, a billion rows hold two alike with a chance below 1e-6."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaped:
    """What `complete` found: counts, which optional columns there are, and sentences about what was inferred."""

    rows: int
    groups: int
    optional: tuple[str, ...]
    notes: tuple[str, ...]


def complete(connection: duckdb.DuckDBPyConnection, table: str, slices: Sequence[str]) -> Shaped:
    """Checks the columns of a table (its name as SQL takes it), and makes the relations `typed` and `keys`.

    `typed` holds the record columns, as far as there are any; `keys` the `id` and `group` of each row. An id that
    is missing is derived from text, label and group and from how many equal rows came before, never from the
    row's number, so that added rows rename none. A group that is missing is the id.

    Raises:
        DataError: a column is missing, a cell is huge, a time is none, or there are no rows.
    """
    found = {name.casefold(): name for name in columns(connection, table)}
    _check_columns(found, slices)
    with _explained("the records"):
        connection.execute(f"USE {WORK}")
        connection.execute(f"CREATE VIEW typed AS SELECT rowid AS row, {_cells(found, slices)} FROM {table}")
        _check_cells(connection)
        notes = [*_key(connection, found), *_dropped(found, slices)]
        rows, groups = _row(connection, 'SELECT count(*), count(DISTINCT "group") FROM keys')
    if not rows:
        raise DataError("the records", "the sources give no row", "Look at the sources and at `ingest.select`")
    optional = tuple(name for name in OPTIONAL if name in found)
    return Shaped(rows=rows, groups=groups, optional=optional, notes=tuple(notes))


def _check_columns(found: dict[str, str], slices: Sequence[str]) -> None:
    for needed in ("text", "label", *slices):
        if needed.casefold() not in found:
            near = difflib.get_close_matches(needed, found.values(), n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise DataError(
                f"column {needed!r}", f"is not among {', '.join(found.values())}{hint}",
                "Name it in `ingest.select`, as in: SELECT a AS text, b AS label FROM source; or correct `slices`",
            )  # fmt: skip


def _check_cells(connection: duckdb.DuckDBPyConnection) -> None:
    for name in CORE:
        quoted = identifier(name)
        huge = connection.execute(
            f"SELECT row, strlen({quoted}) FROM typed WHERE strlen({quoted}) > {LONGEST_CELL} LIMIT 1"
        ).fetchone()
        if huge:
            raise DataError(
                f"the {name} of row {huge[0] + 1:,}", f"has {huge[1]:,} bytes; at most {LONGEST_CELL:,} are taken",
                "Look for an unclosed quote, or leave the row out by `ingest.select`",
            )  # fmt: skip


def _key(connection: duckdb.DuckDBPyConnection, found: dict[str, str]) -> Iterator[str]:
    nameless, groupless, rows = _row(
        connection, 'SELECT count(*) FILTER (id IS NULL), count(*) FILTER ("group" IS NULL), count(*) FROM typed'
    )
    connection.execute(f"""
        CREATE TABLE derived AS
        WITH content AS (
            SELECT row, left(sha256(CAST(to_json([text, label, "group"]) AS VARCHAR)), {_DIGITS}) AS digest
            FROM typed WHERE id IS NULL
        ), counted AS (SELECT row, digest, row_number() OVER (PARTITION BY digest ORDER BY row) AS nth FROM content)
        SELECT row, if(nth = 1, digest, digest || '-' || nth) AS id FROM counted
    """)
    connection.execute("""
        CREATE TABLE keys AS
        SELECT row, coalesce(typed.id, derived.id) AS id, coalesce("group", typed.id, derived.id) AS "group"
        FROM typed LEFT JOIN derived USING (row) ORDER BY row
    """)
    if nameless:
        few = f"{nameless:,} of {rows:,} rows without one" if "id" in found else "the source has none"
        yield f"id: derived from the content ({few})"
    if groupless:
        few = f"{groupless:,} of {rows:,} rows without one" if "group" in found else "the source has none"
        yield f"group: the id ({few})"


def _dropped(found: dict[str, str], slices: Sequence[str]) -> Iterator[str]:
    known = {*CORE, *OPTIONAL, *(name.casefold() for name in slices)}
    if extra := [name for key, name in found.items() if key not in known]:
        yield f"columns left out: {', '.join(extra)}"


def sample(connection: duckdb.DuckDBPyConnection, most: int | None, seed: int) -> tuple[int, int]:
    """Makes `kept`, the groups to take, and returns their rows and their number.

    Groups are ranked by a salted hash and taken in that order while they fit into `most` rows, so a larger
    `most` takes all that a smaller one took, and added groups move few.

    Raises:
        DataError: the first group alone has more rows than that.
    """
    with _explained("the sample"):
        connection.execute(f"""
            CREATE TABLE sizes AS SELECT "group", count(*) AS rows FROM keys GROUP BY ALL;
            CREATE TABLE kept AS
            WITH ranked AS (
                SELECT *, sum(rows) OVER (
                    ORDER BY sha256({literal(f"{seed}:")} || "group"), "group" ROWS UNBOUNDED PRECEDING
                ) AS so_far FROM sizes
            )
            SELECT "group", rows FROM ranked WHERE so_far <= {"so_far" if most is None else most};
            CREATE TABLE chosen AS
            SELECT id, "group", "group" IN (SELECT "group" FROM kept) AS kept FROM keys ORDER BY row;
        """)
        rows, groups = _row(connection, "SELECT coalesce(sum(rows), 0)::BIGINT, count(*) FROM kept")
    if not groups:
        raise DataError(
            "ingest.max_rows",
            f"the group that comes first has more than {most:,} rows",
            "Raise it, or make groups finer",
        )
    return rows, groups


def write(
    connection: duckdb.DuckDBPyConnection, target: Path, shaped: Shaped, slices: Sequence[str], feedback: Path | None
) -> tuple[int, list[str]]:
    """Writes the kept records in their order, then the feedback rows; returns the rows and the columns written.

    Raises:
        DataError: the feedback snapshot lacks a column or is damaged, or the disk is full.
    """
    optional, parts = set(shaped.optional), [_SOURCE_ROWS]
    if feedback:
        optional |= {"received_at"}
        _add_feedback(connection, feedback, slices)
        parts.append("SELECT * FROM feedback")
    names = [*CORE, "origin", *(name for name in OPTIONAL if name in optional), *slices]
    listed = ", ".join(identifier(name) for name in names)
    with files.replacing(target) as draft, _explained("the records"):
        (rows,) = _row(connection, f"""
            COPY (SELECT {listed} FROM ({" UNION ALL BY NAME ".join(parts)}))
            TO {literal(str(draft))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)
        """)  # fmt: skip
    return rows, names


_SOURCE_ROWS = """
    SELECT typed.* EXCLUDE (row, id, "group"), chosen.id, chosen."group", 'source' AS origin
    FROM typed POSITIONAL JOIN chosen WHERE kept
"""


def _add_feedback(connection: duckdb.DuckDBPyConnection, feedback: Path, slices: Sequence[str]) -> None:
    relation = f"read_parquet({literal(str(feedback))})"
    with _explained("the feedback snapshot"):
        found = {name.casefold(): name for name in columns(connection, relation)}
        if missing := [name for name in (*CORE, "received_at") if name not in found]:
            cause = f"has no column {', '.join(missing)}"
            raise DataError(f"the feedback snapshot {feedback.name}", cause, "Take a new snapshot: `tidegate sync`")
        connection.execute(
            f"CREATE VIEW feedback AS SELECT {_cells(found, slices)}, 'feedback' AS origin FROM {relation}"
        )


# --- small things


def _cells(found: dict[str, str], slices: Sequence[str]) -> str:
    """The SELECT list of all record columns but `origin`, cast to their types; null for what is not there."""

    def cell(name: str, kind: str) -> str:
        value = identifier(found[name.casefold()]) if name.casefold() in found else "NULL"
        return f"CAST({value} AS {kind}) AS {identifier(name)}"

    kinds = dict.fromkeys(CORE, "VARCHAR") | OPTIONAL | dict.fromkeys(slices, "VARCHAR")
    return ", ".join(cell(name, kind) for name, kind in kinds.items())


def _row(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    return connection.execute(query).fetchone() or ()


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except duckdb.OperationalError as error:
        raise DataError(what, cause(error), "Free space on the disk, or set ingest.max_rows") from error
    except duckdb.Error as error:
        raise DataError(what, without_values(error), "Correct the value, or shape it by `ingest.select`") from error
