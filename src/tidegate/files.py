"""Files as the project handles them: written whole or not at all, named by digest, kept in `var/`.

Nothing here knows what a file means.
"""

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tidegate.errors import DataError

_CHUNK = 1 << 20
_RESTORE = "Delete it and run `dvc repro`, which restores it"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a sibling path to write a file or a folder to; it takes the place of `path` on success.

    On an error the sibling is removed and `path` stays as it was.

    Raises:
        DataError: the disk is full.
    """
    try:
        with scratch(path.parent, path.name) as folder:
            draft = folder / path.name
            yield draft
            _put_in_place(draft, path, aside=folder / ".previous")
    except Exception as error:
        if disk_is_full(error, path.parent):
            raise DataError(str(path), "no space is left on the disk", "Free some and run again") from error
        raise


@contextmanager
def scratch(parent: Path, name: str) -> Iterator[Path]:
    """Yields an empty folder in `parent` to work in, removed in the end; those of killed processes are removed first.

    `name` says whose it is: folders of another name, and those of processes that run, are left alone.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(parent, name)
    folder = Path(tempfile.mkdtemp(prefix=f".{name}.{os.getpid()}.", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def disk_is_full(error: BaseException, folder: Path) -> bool:
    """Whether an error comes of a full disk; libraries say so in words of their own, or not at all."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if re.search("no space left|disk is full", str(error), re.IGNORECASE):
        return True
    return folder.exists() and shutil.disk_usage(folder).free < _CHUNK


def _remove_abandoned(parent: Path, name: str) -> None:
    for folder in parent.glob(f".{glob.escape(name)}.*.*"):
        pid = folder.name.split(".")[-2]
        if pid.isdigit() and not _runs(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _put_in_place(source: Path, target: Path, *, aside: Path) -> None:
    source.chmod(0o755 if source.is_dir() else 0o644)
    if not target.is_dir() or target.is_symlink():
        source.replace(target)
        return
    target.rename(aside)  # a folder cannot be replaced in one step
    try:
        source.replace(target)
    except BaseException:
        aside.rename(target)
        raise


def copy_folder(source: Path, target: Path) -> None:
    """Copies the files of a folder, links as what they point to; unlike `shutil.copytree`, the first error passes."""
    target.mkdir(parents=True)
    for file in walk(source):
        copy = target / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON that is equal for equal content: sorted keys, two spaces, a final line end, no NaN."""
    with replacing(path) as draft:
        draft.write_text(
            json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )


class _Object(dict[str, Any]):
    """An object of a JSON file: who asks for a key that it lacks learns which file is at fault."""

    def __init__(self, pairs: Iterable[tuple[str, Any]], path: Path) -> None:
        super().__init__(pairs)
        self._path = path

    def __missing__(self, key: str) -> Any:
        raise DataError(str(self._path), f"is damaged (it lacks {key!r})", _RESTORE)


def read_json(path: Path, *needs: str) -> Any:
    """Reads JSON; where keys are named, a mapping that has them. To ask later for one that is missing is a DataError.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, object_pairs_hook=lambda pairs: _Object(pairs, path))
    except FileNotFoundError:
        raise DataError(str(path), "is missing", "Run `dvc repro`, which makes it") from None
    except ValueError as error:
        raise DataError(str(path), f"is damaged ({error})", _RESTORE) from None
    if needs and not (isinstance(content, dict) and set(needs) <= set(content)):
        raise DataError(str(path), f"is damaged (it lacks some of: {', '.join(needs)})", _RESTORE)
    return content


def append_line(path: Path, content: Any) -> None:
    """Adds a line of JSON to a log, and does not return before it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as stream:
        stream.seek(0)
        before = stream.read()
        torn = b"\n" if before and not before.endswith(b"\n") else b""  # a kill in the middle of a line
        stream.write(torn + json.dumps(content, sort_keys=True, ensure_ascii=False).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a log of JSON lines; what is none, such as a line torn by a kill, is passed over."""
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if isinstance(content, dict):
            yield content


def sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def digest_folder(folder: Path) -> str:
    """The SHA-256 over the sorted relative names and SHA-256s of all files of a folder: its identity."""
    lines = [f"{sha256(file)}  {file.relative_to(folder).as_posix()}\n" for file in walk(folder)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def digest_json(content: Any) -> str:
    """The SHA-256 of a JSON-able value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def walk(folder: Path) -> list[Path]:
    """All regular files below a folder, sorted by their relative POSIX names."""
    found = [file for file in folder.rglob("*") if file.is_file()]
    return sorted(found, key=lambda file: file.relative_to(folder).as_posix())


def var_folder(start: Path | None = None) -> Path:
    """Where the world's state lives: `var/` beside git's common directory, so one for all worktrees.

    The environment variable `TIDEGATE_VAR` names another folder. The folder is made where it is missing.
    """
    if named := os.environ.get("TIDEGATE_VAR"):
        folder = Path(named)
    else:
        command = ["git", "rev-parse", "--path-format=absolute", "--git-common-dir"]
        try:
            common = subprocess.run(command, cwd=start, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise DataError("git", "is not installed", "Install it, or set TIDEGATE_VAR") from None
        if common.returncode:
            raise DataError(
                str(start or Path.cwd()), "is not inside a git repository", "Run in the clone, or set TIDEGATE_VAR"
            )
        folder = Path(common.stdout.strip()).parent / "var"
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()
