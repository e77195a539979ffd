"""The packages that were ever judged, by digest, in `var/`: what the registry's versions point to."""

import shutil
from pathlib import Path

from tidegate.errors import PackageError
from tidegate.files import digest_folder, replacing, var_folder


def folder_of(digest: str) -> Path:
    """Where a package lies, or would lie."""
    return var_folder() / "packages" / digest


def store(folder: Path, digest: str) -> Path:
    """Copies a package into the store, whole or not at all; returns where it lies.

    Raises:
        PackageError: what lies in the store under this digest is damaged.
    """
    target = folder_of(digest)
    if not target.exists():
        with replacing(target) as draft:
            shutil.copytree(folder, draft)
    if digest_folder(target) != digest:
        remedy = "Delete that folder and run `python -m tidegate promote`, which copies it anew"
        raise PackageError(str(target), "is not what its digest says", remedy)
    return target
