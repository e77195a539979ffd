import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tidegate.errors import DataError, ParamsError, SourceError
from tidegate.intake import tables
from tidegate.intake.tables import Layout


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with tables.connect(tmp_path / "test.duckdb") as opened:
        yield opened


def read(
    connection: duckdb.DuckDBPyConnection, folder: Path, file: str, content: bytes | str, **layout: Any
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of a file that holds `content`."""
    (folder / file).write_bytes(content.encode() if isinstance(content, str) else content)
    tables.read(connection, "mine", folder / file, Layout(**layout), folder)
    return list(tables.columns(connection, "mine")), connection.execute("FROM mine").fetchall()


TWO = (["text", "label"], [("a", "x"), ("b", "y")])


@pytest.mark.parametrize(
    ("file", "content", "layout"),
    [
        ("a.csv", "text,label\na,x\nb,y\n", {}),
        ("a.csv", "text,label\r\na,x\r\nb,y", {}),
        ("a.csv", "text,label\na,x\r\nb,y\n", {}),
        ("a.csv", "\ufefftext,label\na,x\n\nb,y\n\n", {}),
        ("a.csv", "text;label\na;x\nb;y\n", {}),
        ("a.CSV", "text|label\na|x\nb|y\n", {}),
        ("a.csv", '"text","label"\n"a","x"\nb,y\n', {}),
        ("a.csv", "text\tlabel\na\tx\nb\ty\n", {"delimiter": "\t"}),
        ("a.csv", "a,x\nb,y\n", {"header": False, "columns": ["text", "label"]}),
        ("a.csv", "Q,R\na,x\nb,y\n", {"columns": ["text", "label"]}),
        ("a.csv", "text,label\na,x\nb,y\n".encode("utf-16"), {}),
        ("a.csv.gz", gzip.compress(b"text,label\na,x\nb,y\n"), {}),
        ("a.tsv", "text\tlabel\na\tx\nb\ty\n", {}),
        ("a.txt", "text\tlabel\na\tx\nb\ty\n", {"format": "tsv"}),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"label": "y", "text": "b"}\n', {}),
        ("a.ndjson", '{"text": "a", "label": "x"}\n\n{"text": "b", "label": "y"}', {}),
    ],
)
def test_every_format_gives_the_same_table(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, file: str, content: bytes | str, layout: dict[str, Any]
) -> None:
    assert read(connection, tmp_path, file, content, **layout) == TWO


def test_parquet_keeps_its_types_and_its_order(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    connection.execute(
        f"COPY (SELECT 9 - range AS n, 'x' AS text FROM range(10)) TO '{tmp_path}/a.parquet' (COMPRESSION brotli)"
    )
    (tmp_path / "a.parquet").rename(tmp_path / "a.parquet.brotli")
    tables.read(connection, "mine", tmp_path / "a.parquet.brotli", Layout(), tmp_path)
    assert tables.columns(connection, "mine") == {"n": "BIGINT", "text": "VARCHAR"}
    assert connection.execute("SELECT list(n) FROM mine").fetchone() == ([*range(9, -1, -1)],)


def test_cells_are_text_and_stay_as_they_are_written(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    cells = ("007", "1.50", "2021-01-01 10:00", "NA", "true", " x ")
    _, rows = read(connection, tmp_path, "a.csv", "a,b,c,d,e,f\n" + ",".join(cells) + "\n")
    assert rows == [cells]


def test_json_texts_stay_as_they_are_and_what_is_no_text_becomes_one(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    line = '{"a": "2021-01-01 10:00", "b": "007", "c": {"d": [1, 2]}, "e": null, "f": true}\n{"a": "x", "late": "y"}\n'
    names, rows = read(connection, tmp_path, "a.jsonl", line)
    assert names == ["a", "b", "c", "e", "f", "late"]
    assert rows == [("2021-01-01 10:00", "007", '{"d":[1,2]}', None, "true", None), ("x", *[None] * 4, "y")]


def test_a_quoted_cell_may_hold_anything_and_an_empty_one_is_null(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    _, rows = read(connection, tmp_path, "a.csv", 'text,label\n"a, ""b""\nc",x\n,""\n')
    assert rows == [('a, "b"\nc', "x"), (None, None)]


def test_without_quotes_a_quote_is_a_letter(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    _, rows = read(connection, tmp_path, "a.tsv", 'text\tlabel\n"a" b "\tx\n', quote="")
    assert rows == [('"a" b "', "x")]


def test_columns_without_a_name_get_one(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    assert read(connection, tmp_path, "a.csv", ",text\n0,a\n")[0] == ["column1", "text"]


def test_what_is_inferred_is_said(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text;label\na;x\n")
    notes = tables.read(connection, "mine", tmp_path / "a.csv", Layout(), tmp_path)
    assert notes == [
        "mine: format csv, by the file's name",
        "mine: encoding utf-8",
        "mine: delimiter ';', by the first line",
        "mine: columns text, label",
    ]


def test_what_is_stated_is_not_said_again(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text;label\na;x\n")
    layout = Layout(format="csv", delimiter=";", encoding="utf-8", columns=["text", "label"])
    assert tables.read(connection, "mine", tmp_path / "a.txt", layout, tmp_path) == []


@pytest.mark.parametrize(
    ("file", "content", "layout", "cause"),
    [
        ("a.txt", "text\na\n", {}, "the name a.txt tells no format"),
        ("a.csv", "", {}, "the file is empty"),
        ("a.csv", b"text\ncaf\xe9\n", {}, "is not utf-8: byte 0xe9 in line 2"),
        ("a.csv", "text,label\na,x\nb\n", {}, "line 3 has 1 cells where 2 are expected"),
        ("a.csv", "text,label\na,x\nb,y,z\n", {}, "line 3 has 3 cells where 2 are expected"),
        ("a.csv", 'text,label\n"a,x\nb,y\n', {}, "line 2 has a quote that is not closed"),
        ("a.csv", 'text,label\n"a" b,x\n', {}, "text beside a quoted cell"),
        ("a.csv", f"text,label\n{'a' * 10_000_000},x\n", {}, "line 2 is longer than 2,000,000 bytes"),
        ("a.csv", f'text,label\n"{"a" * 10_000_000}",x\n', {}, "line 2 is longer than 2,000,000 bytes"),
        ("a.csv", f"{'a' * 10_000_000},x\n", {}, "the first line gives no cells"),
        ("a.csv", "text,Text\na,x\n", {}, "two columns are named 'Text'"),
        ("a.csv", "text,label\na,x\n", {"columns": ["text"]}, "`columns` names 1, its first line has 2 cells"),
        ("a.jsonl", '{"text": 1\n', {}, "Malformed JSON"),
        ("a.jsonl", "[1, 2]\n", {}, "record"),
        ("a.jsonl", b'{"text": "caf\xe9"}\n', {}, "is not utf-8"),
        ("a.jsonl", "", {}, "the file is empty"),
        ("a.jsonl", '{"text": "a"}\n', {"delimiter": ","}, "delimiter says nothing about a jsonl file"),
        ("a.parquet", "text\na\n", {}, "too small to be a Parquet file"),
        ("a.parquet", "PAR1" + "x" * 5000, {}, "magic bytes"),
        ("a.parquet", "", {}, "too small to be a Parquet file"),
        ("a.parquet", "x", {"quote": ""}, "quote says nothing about a parquet file"),
    ],
)
def test_a_file_that_is_not_as_described_is_a_source_error(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    file: str,
    content: bytes | str,
    layout: dict[str, Any],
    cause: str,
) -> None:
    with pytest.raises(SourceError) as caught:
        read(connection, tmp_path, file, content, **layout)
    assert caught.value.what == f"mine ({tmp_path / file})"
    assert "records=" not in str(caught.value)
    assert "auto-detect" not in str(caught.value)
    assert cause in caught.value.cause
    assert len(str(caught.value)) < 600
    assert str(tmp_path) not in caught.value.cause


def test_a_parquet_file_with_a_damaged_page_is_a_source_error(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    connection.execute(f"COPY (SELECT sha256(range::VARCHAR) AS text FROM range(9000)) TO '{path}' (COMPRESSION zstd)")
    content = bytearray(path.read_bytes())
    content[2000:9000] = bytes(7000)
    with pytest.raises(SourceError, match=r"mine \(.*a\.parquet\): "):
        read(connection, tmp_path, "a.parquet", bytes(content))


# --- select


@pytest.fixture
def filled(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    connection.execute("CREATE TABLE main.mine AS SELECT range AS n, 'text ' || range AS text FROM range(3)")
    return connection


@pytest.mark.parametrize(
    "query",
    ["SELECT * FROM mine", "FROM mine", "WITH a AS (FROM mine) SELECT * FROM a; -- done", "(SELECT * FROM mine)\n;\n"],
)
def test_a_select_makes_a_table(filled: duckdb.DuckDBPyConnection, query: str) -> None:
    target = tables.select(filled, query, key="ingest.select")
    assert filled.execute(f"SELECT list(n) FROM {target}").fetchone() == ([0, 1, 2],)


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE mine", "SELECT 1; DROP TABLE mine", "COPY mine TO '{folder}/out.csv'", "PRAGMA version", "",
        "-- nothing", "INSTALL httpfs", "ATTACH '{folder}/other.duckdb'", "SET threads = 4", "EXPLAIN SELECT 1",
        "CREATE TABLE a AS SELECT 1", "SELEC 1", "SELECT nope FROM mine", "SELECT * FROM nope",
        "SELECT nope(text) FROM mine",
    ],
)  # fmt: skip
def test_what_is_no_select_over_the_tables_is_refused(
    filled: duckdb.DuckDBPyConnection, query: str, tmp_path: Path
) -> None:
    with pytest.raises(ParamsError, match=r"ingest\.select: "):
        tables.select(filled, query.format(folder=tmp_path), key="ingest.select")
    assert tables.count(filled, "mine") == 3
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("test.duckdb")] == []


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('{folder}/secret.csv')", "FROM '{folder}/secret.csv'",
        "FROM read_text('{folder}/secret.csv')",
        "FROM glob('{folder}/*')", "FROM read_csv('http://127.0.0.1:9/x.csv')", "FROM secret", "SELECT getenv('HOME')",
        "FROM sqlite_scan('{folder}/a.db', 'a')", "FROM query('DROP TABLE mine')",
    ],
)  # fmt: skip
def test_a_select_reaches_nothing_of_the_machine(filled: duckdb.DuckDBPyConnection, query: str, tmp_path: Path) -> None:
    secret = [{"a": 1}]  # noqa: F841 (a name that DuckDB would find in this frame)
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with pytest.raises(ParamsError):
        tables.select(filled, query.format(folder=tmp_path), key="ingest.select")


def test_a_table_that_is_not_there_is_named_with_one_that_is_near(filled: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(ParamsError, match=r'Table with name mein does not exist \(Did you mean "mine"\?\)'):
        tables.select(filled, "FROM mein", key="ingest.select")


def test_a_value_that_does_not_bear_the_query_is_a_data_error(filled: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(DataError, match=r"Could not convert string … to DOUBLE\..*TRY_CAST"):
        tables.select(filled, "SELECT CAST(text AS DOUBLE) AS text FROM mine", key="ingest.select")


@pytest.mark.parametrize(
    "expression",
    [
        "CAST(text AS DOUBLE)", "CAST(text AS DATE)", "CAST(text AS BOOLEAN)", "CAST(text AS INT[])",
        "CAST(text AS UUID)", "CAST(text AS TIMESTAMP)",
        "strptime(text, '%Y')", "json_extract(text, '$.a')", "CAST(text AS ENUM('a'))",
    ],
)  # fmt: skip
@pytest.mark.parametrize("text", ["private", "a 'private' matter", 'a "private" matter\nand "more"', "it's private"])
def test_the_text_of_a_record_stands_in_no_error(
    connection: duckdb.DuckDBPyConnection, expression: str, text: str
) -> None:
    connection.execute("CREATE TABLE main.mine AS SELECT ? AS text", [text])
    with pytest.raises(DataError) as caught:
        tables.select(connection, f"SELECT {expression} AS x FROM mine", key="ingest.select")
    assert "private" not in str(caught.value)
    assert "more" not in caught.value.cause
    assert caught.value.cause


def test_a_full_disk_is_named_when_a_database_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise duckdb.IOException('IO Error: Could not write file "a.duckdb": No space left on device')

    monkeypatch.setattr(tables.duckdb, "connect", full)
    with pytest.raises(DataError, match=r"no space is left on the disk\. Free some and run again"):
        tables.connect(tmp_path / "a.duckdb")
