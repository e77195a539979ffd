import stat
import struct
import zipfile
from pathlib import Path

import pytest

from tidegate.errors import SourceError
from tidegate.intake import archives


def make(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *args, **kwargs: None)  # zipfile warns of duplicate names
        for name, content in entries:
            archive.writestr(name, content)
    return path


def extract(archive: Path, member: str, **options: int) -> Path:
    return archives.extract(archive, member, archive.parent / "out" / "target", what="wheel://x", **options)


def test_a_file_is_unpacked_byte_for_byte(tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000
    archive = make(tmp_path / "a.zip", ("pkg/data.bin", content), ("pkg/data.bin.txt", b"another"))
    assert extract(archive, "pkg/data.bin").read_bytes() == content


def test_a_folder_is_unpacked_with_its_subfolders_and_nothing_beside_it(tmp_path: Path) -> None:
    archive = make(
        tmp_path / "a.zip", ("pkg/model/", b""), ("pkg/model/a.json", b"a"), ("pkg/model/1_Pooling/b.json", b"b"),
        ("pkg/model2/c.json", b"c"), ("pkg/model.json", b"d"),
    )  # fmt: skip
    folder = extract(archive, "pkg/model")
    found = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert found == {"a.json": b"a", "1_Pooling/b.json": b"b"}


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ("entries", "cause"),
    [
        ([("pkg/../../evil", b"x")], "'.', '..' or an empty part"),
        ([("pkg//evil", b"x")], "'.', '..' or an empty part"),
        ([("pkg/./evil", b"x")], "'.', '..' or an empty part"),
        ([("pkg/..\\evil", b"x")], "a backslash or a control character"),
        ([("pkg/C:\\evil", b"x")], "a backslash or a control character"),
        ([("pkg/a", b"x"), ("pkg/a", b"y")], "twice"),
        ([("pkg/a", b"x"), ("pkg/A", b"y")], "twice"),
        ([("pkg/a", b"x"), ("pkg/a/b", b"y")], "below a file"),
        ([("pkg", b"x"), ("pkg/a", b"y")], "below a file"),
        ([(link("pkg/a"), b"/etc/passwd")], "a link or a device"),
    ],
)
def test_a_hostile_archive_is_refused_and_leaves_nothing(
    tmp_path: Path, entries: list[tuple[str, bytes]], cause: str
) -> None:
    archive = make(tmp_path / "a.zip", ("pkg/good", b"good"), *entries)
    with pytest.raises(SourceError, match=cause):
        extract(archive, "pkg")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.zip"]


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "C:/evil", "a//b", "a/./b", "a\\b", "a\nb"])
def test_a_name_that_could_leave_the_folder_is_hostile(name: str) -> None:
    assert archives.hostile(name)


@pytest.mark.parametrize("name", ["a", "a/b.txt", "..a/b..", "a b/ü.txt"])
def test_a_plain_name_is_not_hostile(name: str) -> None:
    assert archives.hostile(name) is None


def test_a_member_that_declares_too_much_is_refused(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip", ("pkg/a", bytes(600)), ("pkg/b", bytes(600)))
    with pytest.raises(SourceError, match="would unpack to 1,200 bytes; at most 1,000"):
        extract(archive, "pkg", largest=1000)
    assert extract(archive, "pkg/a", largest=1000).stat().st_size == 600


def test_a_member_that_holds_more_than_it_declares_is_refused(tmp_path: Path) -> None:
    """A bomb that lies: its directory says 1,000 bytes, its stream holds ten million."""
    archive = make(tmp_path / "a.zip", ("pkg/a", bytes(10_000_000)))
    damaged = archive.read_bytes().replace(struct.pack("<I", 10_000_000), struct.pack("<I", 1000))
    archive.write_bytes(damaged)
    with pytest.raises(SourceError, match="damaged"):
        extract(archive, "pkg/a")
    assert not list((tmp_path / "out").iterdir())


def test_flipped_bytes_are_found_by_the_checksum(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:
        opened.writestr("a.txt", b"the tide comes in")
    archive.write_bytes(archive.read_bytes().replace(b"the tide", b"the gate"))
    with pytest.raises(SourceError, match=r"damaged or not readable.*Delete"):
        extract(archive, "a.txt")
    assert not list((tmp_path / "out").iterdir())


def test_a_truncated_archive_and_no_archive_at_all_are_refused(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip", ("a.txt", b"x" * 1000))
    for content in (archive.read_bytes()[:-30], b"<html>not found</html>", b""):
        archive.write_bytes(content)
        with pytest.raises(SourceError, match="damaged or not readable"):
            extract(archive, "a.txt")


def test_a_missing_member_is_named_with_those_near_it(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip", ("pkg/data/tweets.txt", b"x"), ("other/deep/tweet.txt", b"x"))
    with pytest.raises(SourceError, match=r"no member 'pkg/tweets.txt' \(near it: pkg/data/tweets.txt"):
        extract(archive, "pkg/tweets.txt")


def test_what_is_there_and_whole_is_not_written_again(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip", ("pkg/a", b"first"), ("pkg/b", b"second"))
    folder = extract(archive, "pkg")
    before = (folder / "a").stat().st_ino
    assert (extract(archive, "pkg") / "a").stat().st_ino == before


@pytest.mark.parametrize("content", [b"fir", b"FIRST", None])
def test_a_damaged_copy_is_mended(tmp_path: Path, content: bytes | None) -> None:
    archive = make(tmp_path / "a.zip", ("pkg/a", b"first"), ("pkg/b", b"second"))
    copy = extract(archive, "pkg") / "a"
    copy.unlink() if content is None else copy.write_bytes(content)
    assert (extract(archive, "pkg") / "a").read_bytes() == b"first"
