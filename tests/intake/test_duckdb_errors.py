"""What DuckDB says becomes one line that quotes none of the data."""

import duckdb
import pytest

from tidegate.errors import DataError, SourceError
from tidegate.intake import duckdb_errors


def test_a_message_of_duckdb_ends_without_a_mark_of_its_own() -> None:
    error = duckdb.BinderException('Binder Error: column "nope" not found in FROM clause!\n\nLINE 1: SELECT')
    assert duckdb_errors.cause(error) == 'column "nope" not found in FROM clause'


def test_a_line_that_cannot_be_read_is_not_quoted() -> None:
    error = duckdb.InvalidInputException("Invalid Input Error: CSV Error on Line: 3\nOriginal Line: private\nodd")
    assert duckdb_errors.cause(error) == "line 3 cannot be taken apart into cells"


def test_a_value_is_not_quoted_and_what_it_should_have_become_is_said() -> None:
    error = duckdb.ConversionException("Conversion Error: Could not convert string 'private' to DOUBLE\n\nLINE 1:")
    assert duckdb_errors.without_values(error) == "Could not convert string … to DOUBLE"


@pytest.mark.parametrize(
    ("message", "kind", "told"),
    [
        ("IO Error: No space left on device", DataError, "mine: no space is left on the disk for its table"),
        ("Invalid Input Error: Malformed JSON", SourceError, "mine: Malformed JSON. Each line must be one JSON object"),
    ],
)
def test_an_error_names_the_table_and_the_remedy(message: str, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told), duckdb_errors.explained("mine"):
        raise duckdb.Error(message)
