"""The store of packages: whole or not there, and what is there is what its digest says."""

import errno
from pathlib import Path
from typing import Any

import pytest

from tidegate import files, package_store
from tidegate.errors import DataError, PackageError


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "candidate"
    (folder / "inner").mkdir(parents=True)
    (folder / "package.json").write_text("{}")
    (folder / "inner" / "model.onnx").write_bytes(b"model")
    return folder


def test_a_package_is_kept_under_its_digest(package: Path, var: Path) -> None:
    digest = files.digest_folder(package)
    kept = package_store.store(package, digest)
    assert kept == package_store.folder_of(digest) == var / "packages" / digest
    assert files.digest_folder(kept) == digest


def test_storing_again_changes_nothing(package: Path, var: Path) -> None:
    digest = files.digest_folder(package)
    before = package_store.store(package, digest).stat()
    assert package_store.store(package, digest).stat() == before
    assert [path.name for path in (var / "packages").iterdir()] == [digest]


def test_a_link_into_the_cache_of_dvc_is_copied_as_what_it_points_to(package: Path, tmp_path: Path, var: Path) -> None:
    (tmp_path / "cached").write_bytes(b"model")
    (package / "inner" / "model.onnx").unlink()
    (package / "inner" / "model.onnx").symlink_to(tmp_path / "cached")
    kept = package_store.store(package, files.digest_folder(package))
    (tmp_path / "cached").unlink()
    assert (kept / "inner" / "model.onnx").read_bytes() == b"model"


def test_a_failure_in_the_middle_leaves_nothing(package: Path, var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> Any:
        target.write_bytes(b"ha")
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(files.shutil, "copyfile", full)
    with pytest.raises(DataError, match="no space is left"):
        package_store.store(package, files.digest_folder(package))
    assert list((var / "packages").iterdir()) == []


def test_damage_in_the_store_is_an_error_that_says_what_to_do(package: Path, var: Path) -> None:
    digest = files.digest_folder(package)
    kept = package_store.store(package, digest)
    (kept / "package.json").write_text("{ }")
    with pytest.raises(PackageError, match=r"is not what its digest .* says") as caught:
        package_store.store(package, digest)
    assert caught.value.what == str(kept)
    assert "python -m tidegate promote" in caught.value.remedy


def test_what_does_not_have_the_digest_is_not_kept(package: Path, var: Path) -> None:
    with pytest.raises(PackageError):
        package_store.store(package, "0" * 64)
    assert not package_store.folder_of("0" * 64).exists()
