"""Text files of any encoding and line end, packed or not, become plain UTF-8 with `\\n`, streaming.

What the lines mean is the caller's business.
"""

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from tidegate.errors import SourceError

_CHUNK = 1 << 20
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def encoding_of(path: Path, *, what: str) -> str:
    """The encoding that the file's byte order mark states; UTF-8 where it has none.

    Raises:
        SourceError: the file is damaged; names `what`.
    """
    with _whole(what), _open(path) as stream:
        start = stream.read(4)
    return next((encoding for mark, encoding in _MARKS.items() if start.startswith(mark)), "utf-8")


def copy(source: Path, target: Path, *, encoding: str, what: str) -> None:
    """Copies a text file, unpacked where it is gzip, decoded strictly, `\\r\\n` made `\\n`.

    Raises:
        SourceError: the file is empty, holds a byte that the encoding has not, or is damaged; names `what`.
    """
    with _whole(what), _open(source) as stream, target.open("wb") as sink:
        written = sum(sink.write(chunk) for chunk in _decoded(stream, encoding, what))
    if not written:
        raise SourceError(what, "the file is empty", "Give it rows, or take the source out")


@contextmanager
def _whole(what: str) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(what, f"the file is damaged ({error})", "Get a whole copy of it") from error


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return cast("BinaryIO", gzip.open(path)) if packed else path.open("rb")


def _decoded(source: BinaryIO, encoding: str, what: str) -> Iterator[bytes]:
    decoder, line, carried = codecs.getincrementaldecoder(encoding)(), 1, ""
    while True:
        chunk = source.read(_CHUNK)
        try:
            text = carried + decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            line += error.object[: error.start].count(b"\n")
            bad = error.object[error.start : error.end].hex()
            cause = f"is not {encoding}: byte 0x{bad} in line {line:,} has no meaning there"
            remedy = "Set its `encoding` (cp1252 and latin-1 are common), or mend the file"
            raise SourceError(what, cause, remedy) from None
        except UnicodeError as error:  # of the stream as a whole, as UTF-16 without a byte order mark
            remedy = "Set its `encoding` (utf-16-le and utf-16-be need no byte order mark), or mend the file"
            raise SourceError(what, f"is not {encoding} ({error})", remedy) from None
        carried = "\r" if chunk and text.endswith("\r") else ""
        text = text[: len(text) - len(carried)].replace("\r\n", "\n")
        line += text.count("\n")
        yield text.encode()
        if not chunk:
            return
