"""Members of zip archives, unpacked with suspicion: nothing leaves the target, nothing grows without bound.

Knows nothing of wheels, addresses or caches.
"""

import difflib
import re
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tidegate import files
from tidegate.errors import SourceError

LARGEST = 4 << 30
"""Bytes: the most that one member may unpack to."""

_CHUNK = 1 << 20
_AGAIN = "Delete {} and run again; if that does not help, the published file itself is bad"
_HOSTILE = "Do not use this archive: it was made by mistake or with intent to harm"


def extract(archive: Path, member: str, target: Path, *, what: str, largest: int = LARGEST) -> Path:
    """Unpacks a file or a folder of a zip archive to `target`, whole or not at all.

    What lies at `target` already is kept if it has the sizes and checksums that the archive states.

    Args:
        archive: the zip file.
        member: the name of a file, or of a folder (without its final slash), in the archive.
        target: where the file or the folder shall lie.
        what: the source's address, for messages.
        largest: bytes; the most that may be unpacked.

    Raises:
        SourceError: the member is missing, damaged, hostile or too large, or the archive is no zip.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = _entries(opened, member, what)
            _check(entries, what, largest)
            if not _kept(entries, target):
                with files.replacing(target) as draft:
                    for relative, entry in entries.items():
                        _copy(opened, entry, draft / relative, what)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceError(what, f"the archive is damaged or not readable ({error})", _AGAIN.format(archive)) from error
    return target


def _entries(opened: zipfile.ZipFile, member: str, what: str) -> dict[str, zipfile.ZipInfo]:
    """Name relative to the member ('.' for the member itself) to entry, for a file or all files of a folder."""
    inside = [entry for entry in opened.infolist() if f"{entry.filename}/".startswith(f"{member}/")]
    seen: set[str] = set()
    for entry in inside:
        if (name := entry.filename.casefold()) in seen:
            raise SourceError(what, f"the archive holds {entry.filename!r} twice", _HOSTILE)
        seen.add(name)
    found = {entry.filename.removeprefix(member)[1:] or ".": entry for entry in inside if not entry.is_dir()}
    if not found:
        raise SourceError(what, f"the archive has no member {member!r}{_near(opened, member)}", "Correct the path")
    for name in found:
        if name != "." and any(str(parent) in found for parent in PurePosixPath(name).parents):
            raise SourceError(what, f"the archive holds something below a file ({name!r})", _HOSTILE)
    return found


def _near(opened: zipfile.ZipFile, member: str) -> str:
    names = opened.namelist()
    same = [name for name in names if PurePosixPath(name).name == PurePosixPath(member).name]
    near = list(dict.fromkeys([*same, *difflib.get_close_matches(member, names, n=5, cutoff=0.5)]))[:5]
    return f" (near it: {', '.join(near)})" if near else f" (it has {len(names):,} others)"


def _check(entries: dict[str, zipfile.ZipInfo], what: str, largest: int) -> None:
    for entry in entries.values():
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if problem := hostile(entry.orig_filename):
            raise SourceError(what, f"the archive's entry {entry.orig_filename!r} {problem}", _HOSTILE)
        if kind not in (0, stat.S_IFREG):
            raise SourceError(what, f"the archive's entry {entry.filename!r} is a link or a device", _HOSTILE)
        if entry.flag_bits & 1:
            raise SourceError(what, f"the archive's entry {entry.filename!r} is encrypted", "Use an open archive")
    if (size := sum(entry.file_size for entry in entries.values())) > largest:
        raise SourceError(what, f"would unpack to {size:,} bytes; at most {largest:,} are allowed", _HOSTILE)


def hostile(name: str) -> str | None:
    """Why a name in an archive could lead out of the folder it is unpacked to."""
    if name.startswith(("/", "\\")) or re.match("[A-Za-z]:", name):
        return "is absolute"
    if "\\" in name or any(ord(letter) < 32 for letter in name):
        return "holds a backslash or a control character"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "holds '.', '..' or an empty part"
    return None


def _kept(entries: dict[str, zipfile.ZipInfo], target: Path) -> bool:
    if target.is_dir() and {file.relative_to(target).as_posix() for file in files.walk(target)} != set(entries):
        return False
    return all(_is(entry, target / relative) for relative, entry in entries.items())


def _is(entry: zipfile.ZipInfo, file: Path) -> bool:
    if not file.is_file() or file.stat().st_size != entry.file_size:
        return False
    checksum = 0
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum == entry.CRC


def _copy(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, what: str) -> None:
    """Streams one entry, never more than it declares; zipfile checks its CRC at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with opened.open(entry) as source, target.open("xb") as sink:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > entry.file_size:
                raise SourceError(what, f"{entry.filename!r} unpacks to more than it declares", _HOSTILE)
            sink.write(chunk)
    if written != entry.file_size:
        raise SourceError(what, f"{entry.filename!r} is cut off after {written:,} bytes", "Run again")
