"""The packages that were ever judged, by digest, in `var/`: what the registry's versions point to."""

from pathlib import Path

from tidegate.errors import PackageError
from tidegate.files import copy_folder, digest_folder, replacing, var_folder


def folder_of(digest: str) -> Path:
    """Where a package lies, or would lie."""
    return var_folder() / "packages" / digest


def store(folder: Path, digest: str) -> Path:
    """Copies a package into the store, whole or not at all; returns where it lies.

    Raises:
        PackageError: the package, or what lies in the store under this digest, is damaged.
    """
    target = folder_of(digest)
    if not target.exists():
        with replacing(target) as draft:
            copy_folder(folder, draft)
            _check(draft, digest, what=folder, remedy="Run `dvc repro`, which restores it")
    return checked(digest)


def checked(digest: str) -> Path:
    """Where a package lies whose bytes are those that were stored.

    Raises:
        PackageError: they are not, or it is not there.
    """
    folder = folder_of(digest)
    if not folder.is_dir():
        raise PackageError(str(folder), "is missing", "Restore var/packages from its backup, or run `make repro`")
    _check(folder, digest, what=folder, remedy="Delete that folder and run `python -m tidegate promote`")
    return folder


def _check(folder: Path, digest: str, *, what: Path, remedy: str) -> None:
    if digest_folder(folder) != digest:
        raise PackageError(str(what), f"is not what its digest {digest[:12]} says", remedy)
