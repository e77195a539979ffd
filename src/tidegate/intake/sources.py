"""Where records and models come from: an address becomes a local file or folder.

Wheels are downloaded and opened as archives, never installed; nothing that is fetched is executed. What a
file holds is read elsewhere (`tables`).
"""

import difflib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock

from tidegate import files
from tidegate.errors import SourceError
from tidegate.intake import archives, hub

_PATIENCE = 1800
"""Seconds that a download may take in all; pip's own time limit for one answer is left as configured."""

_WHEEL = re.compile(
    r"wheel://(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)"
    r"/(?P<member>[^?]+)(?:\?sha256=(?P<sha256>[0-9a-f]{64}))?"
)
_FORMS = f"An address is a path, wheel://NAME==VERSION/path/inside?sha256=…, {hub.FORMS}"


@dataclass(frozen=True, slots=True)
class Wheel:
    """The parts of a `wheel://` address; `sha256` is that of the wheel file, or None where it is not pinned."""

    name: str
    version: str
    member: str
    sha256: str | None


def fetch(address: str) -> Path:
    """The local file or folder that an address names, downloaded where it is not there yet.

    A folder results where the address names a folder of a wheel, a local folder, or a whole repository.

    Raises:
        SourceError: the address is not understood, or what it names is missing, damaged or hostile.
    """
    if address.startswith("wheel://"):
        return _fetch_wheel(address)
    if address.startswith("hf://"):
        return hub.fetch(address, cache=_downloads() / "hub")
    if "://" in address:
        raise SourceError(address, f"the scheme {address.split('://')[0]}:// is not known", _FORMS)
    return _existing(address)


def fetch_model(address: str) -> Path:
    """As `fetch`, for a model. A local folder has to be pinned, `FOLDER?sha256=…`: DVC does not watch it.

    Raises:
        SourceError: as `fetch`; or the folder has no pin, or is not what its pin says.
    """
    if "://" in address:
        return fetch(address)
    path, _, pin = address.partition("?sha256=")
    folder = fetch(path)
    digest = files.digest_folder(folder) if folder.is_dir() else files.sha256(folder)
    if digest != pin:
        cause = f"is not what its pin says (sha256 {digest[:12]}…)" if pin else "is not pinned, so a change goes unseen"
        raise SourceError(address, cause, f"If it is the one that you mean, write {path}?sha256={digest}")
    return folder


def unpinned(address: str) -> str | None:
    """A sentence where an address does not pin what it names, with the pin to add; else None.

    Call it after `fetch`. A hub revision counts as pinned when it is a full commit id.
    """
    if address.startswith("wheel://") and (wheel := parse_wheel(address)).sha256 is None:
        return f"{address} is not pinned; add ?sha256={files.sha256(_wheel_file(wheel, address))}"
    return hub.unpinned(address) if address.startswith("hf://") else None


def _existing(address: str) -> Path:
    path = Path(address)
    try:
        if path.is_dir():
            return path
        with path.open("rb"):
            return path
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, _listing(path.parent), n=3)
        hint = f" (did you mean {', '.join(near)}?)" if near else ""
        raise SourceError(address, f"there is no such file{hint}", "Put it there, or correct the address") from None
    except OSError as error:
        raise SourceError(address, f"cannot be opened ({error.strerror})", "Make it readable") from None
    except ValueError as error:  # a null character
        raise SourceError(repr(address), f"is no path of a file ({error})", _FORMS) from None


def _listing(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


# --- wheels


def parse_wheel(address: str) -> Wheel:
    """Takes a `wheel://` address apart.

    Raises:
        SourceError: it has not the form, or its path leaves the archive.
    """
    if not (found := _WHEEL.fullmatch(address)):
        raise SourceError(address, "is not of the form wheel://NAME==VERSION/path/inside?sha256=…", _FORMS)
    wheel = Wheel(found["name"], found["version"], found["member"].rstrip("/"), found["sha256"])
    if problem := archives.hostile(wheel.member):
        raise SourceError(address, f"its path {problem}", "Name a member by its plain path inside the wheel")
    return wheel


def _fetch_wheel(address: str) -> Path:
    wheel = parse_wheel(address)
    with _locked(f"{wheel.name}-{wheel.version}"):
        archive = _wheel_file(wheel, address)
        key = files.digest_json(wheel.member)[:16]
        target = _downloads() / "members" / files.sha256(archive) / key / PurePosixPath(wheel.member).name
        return archives.extract(archive, wheel.member, target, what=address)


def _downloads() -> Path:
    return files.var_folder() / "downloads"


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Keeps two processes from downloading or unpacking the same thing at once; `var/` is shared."""
    folder = _downloads() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{name}.lock"):
        yield


def _wheel_file(wheel: Wheel, address: str) -> Path:
    folder = _downloads() / "wheels" / f"{wheel.name}-{wheel.version}"
    cached = next(iter(sorted(folder.glob("*.whl"))), None)
    if cached is None:
        return _download_wheel(wheel, folder, address)
    found = files.sha256(cached)
    if zipfile.is_zipfile(cached) and wheel.sha256 in (None, found):
        return cached
    fault = "is damaged" if wheel.sha256 is None else "is not the pinned one"
    print(f"the cached {cached} {fault} (sha256 {found}), downloading anew", flush=True)
    try:
        return _download_wheel(wheel, folder, address)
    except SourceError as error:
        raise SourceError(address, f"the cached {cached} {fault}, and {error.cause}", error.remedy) from error


def _download_wheel(wheel: Wheel, folder: Path, address: str) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder.parent) as draft:
        _run_pip(wheel, draft, address)
        wheels = sorted(Path(draft).glob("*.whl"))
        if len(wheels) != 1:
            raise SourceError(address, f"pip left {len(wheels)} wheels", "Check the name and the version")
        found = files.sha256(wheels[0])
        if wheel.sha256 not in (None, found):
            raise SourceError(
                address, f"the wheel's sha256 is {found}, not the one that is pinned",
                "Another file is published, or the download was damaged: run again, and trust no other file unseen",
            )  # fmt: skip
        with files.replacing(folder) as new:
            new.mkdir()
            shutil.move(wheels[0], new / wheels[0].name)
    return folder / wheels[0].name


def _run_pip(wheel: Wheel, folder: str, address: str) -> None:
    requirement = f"{wheel.name}=={wheel.version}"
    print(f"downloading the wheel {requirement}", flush=True)
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--ignore-requires-python"]
    options += ["--no-deps", "--only-binary=:all:", "--dest", folder]
    command = [sys.executable, "-m", "pip", "download", *options, requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        remedy = "Check the connection to the package registry, and run again"
        raise SourceError(address, f"no download within {_PATIENCE // 60} minutes", remedy) from None
    if done.returncode:
        raise SourceError(address, f"pip cannot download {requirement}: {_pip_cause(done.stderr)}", _pip_remedy(done))


def _pip_cause(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")] or lines[-1:]
    return _short((errors or ["it gave no reason"])[-1].rstrip("."))


def _pip_remedy(done: subprocess.CompletedProcess[str]) -> str:
    if "No module named pip" in done.stderr:
        return "Install pip into this environment: python -m ensurepip"
    return "Check the name, the version, the connection, and the registry that `pip config list` shows"


def _short(text: str, width: int = 300) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 3]}..."
