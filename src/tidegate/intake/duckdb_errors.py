"""What DuckDB's errors mean for a person: the cause in one line, without its advice and without the data's texts.

What was being done, and the remedy where it is the caller's to know, is for the caller to say.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from tidegate.errors import DataError, SourceError


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turns an error of DuckDB while the table `name` is made into a domain error."""
    try:
        yield
    except duckdb.Error as error:
        if is_full(error):
            raise DataError(name, "no space is left on the disk for its table", "Free some and run again") from error
        raise SourceError(name, cause(error), _remedy(str(error))) from error


def is_full(error: duckdb.Error) -> bool:
    """Whether the disk is full."""
    return any(words in str(error) for words in ("No space left", "Disk quota exceeded"))


def without_values(error: duckdb.Error) -> str:
    """`cause` for an error of a value: DuckDB quotes the value, which may be the text of a record."""
    message = re.split(r"\n\nLINE \d+:", str(error))[0]
    if not (found := re.match(r"""([^"']*)["'](.*)""", message, re.DOTALL)):
        return cause(error)
    before, after = found.groups()
    target = re.search(r"""["'] (?:to|can't be cast to the destination type) ([A-Z0-9]+)\b[^"']*$""", after)
    before = re.sub(r"^[A-Z]\w+(?: \w+)* Error: ", "", " ".join(before.split()))
    return f"{before} …" + (f" to {target[1]}" if target else "")


def cause(error: duckdb.Error) -> str:
    """What went wrong, in one line without DuckDB's advice; a text out of the data is cut short."""
    message = str(error)
    if found := re.search(r"CSV Error on Line: (\d+)", message):
        expected = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
        if expected:
            return f"line {int(found[1]):,} has {expected[2]} cells where {expected[1]} are expected"
        if most := re.search(r"Maximum line size of (\d+)", message):
            return f"line {int(found[1]):,} is longer than {int(most[1]):,} bytes"
        if "unterminated quote" in message:
            return f"line {int(found[1]):,} has a quote that is not closed, or text beside a quoted cell"
        return f"line {int(found[1]):,} cannot be taken apart into cells"  # DuckDB quotes the line
    message = re.split(r"\n\nLINE \d+:|\nPossible |\n\nPlease try|\s+Try (?:setting|auto-detecting)", message)[0]
    message = re.sub(r"""(["'])[^"']*/([^"'/]*)\1""", r"\1\2\1", message)  # of a path the file's name
    message = re.sub(r"[.!]? (Did you mean .*\?)$", r" (\1)", " ".join(message.split()))
    message = re.sub(r"^[A-Z]\w+(?: \w+)* Error: ", "", message)
    return message.rstrip(".! ") if len(message) <= 300 else f"{message[:297]}..."


def _remedy(message: str) -> str:
    if "CSV" in message:
        return 'Mend the line, or set delimiter and quote as the file has them (quote: "" where nothing is quoted)'
    if "JSON" in message or "json" in message:
        return "Each line must be one JSON object"
    return "Check the file and its `format`"
