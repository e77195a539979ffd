import gzip
from pathlib import Path

import pytest

from tidegate.errors import SourceError
from tidegate.intake import plaintext


def plain(folder: Path, content: bytes, encoding: str | None = None) -> bytes:
    (folder / "source").write_bytes(content)
    encoding = encoding or plaintext.encoding_of(folder / "source", what="mine")
    plaintext.copy(folder / "source", folder / "target", encoding=encoding, what="mine")
    return (folder / "target").read_bytes()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"])
def test_any_encoding_becomes_utf_8(tmp_path: Path, encoding: str) -> None:
    text = "naïve café\n" * 200_000  # letters lie across the borders of the chunks
    assert plain(tmp_path, text.encode(encoding), encoding) == text.encode()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_states_the_encoding_and_goes(tmp_path: Path, encoding: str) -> None:
    assert plain(tmp_path, "é\n".encode(encoding)) == "é\n".encode()


def test_line_ends_become_one_kind_even_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (1, 2, 3, 100):
        monkeypatch.setattr(plaintext, "_CHUNK", size)
        assert plain(tmp_path, b"a\r\nb\nc\rd\r\n\r\ne\r") == b"a\nb\nc\rd\n\ne\r"


def test_a_gzip_file_is_unpacked(tmp_path: Path) -> None:
    assert plain(tmp_path, gzip.compress(b"a,b\r\n")) == b"a,b\n"


def test_a_byte_without_meaning_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"mine: is not utf-8: byte 0xe9 in line 3 .* Set its `encoding`"):
        plain(tmp_path, b"a\nb\ncaf\xe9 \nd\n")


@pytest.mark.parametrize("content", [b"", gzip.compress(b""), "".encode("utf-8-sig")])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SourceError, match="the file is empty"):
        plain(tmp_path, content)


def test_a_truncated_gzip_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="the file is damaged"):
        plain(tmp_path, gzip.compress(bytes(range(256)) * 99, 9)[:-20], "latin-1")


@pytest.mark.parametrize("content", [b"\x1f\x8b", b"\x1f\x8bnothing packed", gzip.compress(b"text")[:12]])
def test_a_broken_gzip_file_is_refused_when_its_encoding_is_looked_for(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SourceError, match="mine: the file is damaged"):
        plain(tmp_path, content)


def test_utf_16_without_a_byte_order_mark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"mine: is not utf-16 .*utf-16-le"):
        plain(tmp_path, "text".encode("utf-16-le"), "utf-16")
