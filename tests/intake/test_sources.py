import hashlib
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tidegate import files
from tidegate.errors import SourceError
from tidegate.intake import hub, sources

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIDEGATE_VAR", str(tmp_path / "var"))
    return tmp_path / "var"


def write_wheel(folder: Path, name: str, version: str, content: dict[str, str]) -> str:
    """A wheel as pip takes it; returns its sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: <3\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in (content | metadata).items():
            archive.writestr(path, text)
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder that pip takes for the only registry, with one wheel; returns the wheel's sha256."""
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "registry"))
    return write_wheel(
        tmp_path / "registry", "tidedata", "1.0", {"tidedata/a.csv": "text\na\n", "tidedata/b/c.csv": "text\nc\n"}
    )


def count_pip(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    calls: list[list[str]] = []
    real = subprocess.run

    def counting(command: list[str], **options: Any) -> Any:
        calls.append(command)
        return real(command, **options)

    monkeypatch.setattr(sources.subprocess, "run", counting)
    return calls


def test_members_of_one_wheel_are_fetched_with_one_download(registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_pip(monkeypatch)
    address = "wheel://tidedata==1.0/tidedata/"
    assert sources.fetch(f"{address}a.csv?sha256={registry}").read_text() == "text\na\n"
    assert sources.fetch(f"{address}b/c.csv").read_text() == "text\nc\n"
    folder = sources.fetch(f"{address}b")
    assert [file.name for file in folder.iterdir()] == ["c.csv"]
    assert len(calls) == 1


def test_an_address_without_a_digest_tells_the_digest_to_add(registry: str) -> None:
    address = "wheel://tidedata==1.0/tidedata/a.csv"
    sources.fetch(address)
    assert f"add ?sha256={registry}" in (sources.unpinned(address) or "")
    assert sources.unpinned(f"{address}?sha256={registry}") is None


def test_a_wheel_with_another_digest_is_refused_and_not_kept(registry: str, var: Path) -> None:
    with pytest.raises(SourceError, match=f"sha256 is {registry}, not the one that is pinned"):
        sources.fetch(f"wheel://tidedata==1.0/tidedata/a.csv?sha256={'0' * 64}")
    assert not list(var.rglob("*.whl"))
    assert not list(var.rglob("a.csv"))


@pytest.mark.parametrize("damage", [b"", b"PK damaged"])
def test_a_damaged_wheel_in_the_cache_is_downloaded_again(registry: str, var: Path, damage: bytes) -> None:
    address = "wheel://tidedata==1.0/tidedata/a.csv"
    sources.fetch(address)
    (wheel,) = var.rglob("*.whl")
    wheel.write_bytes(damage)
    assert sources.fetch(f"{address}?sha256={registry}").read_text() == "text\na\n"
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == registry


def test_a_wheel_in_the_cache_that_is_not_the_pinned_one_is_said(
    registry: str, var: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"wheel://tidedata==1.0/tidedata/a.csv?sha256={registry}"
    sources.fetch(address)
    (wheel,) = var.rglob("*.whl")
    wheel.write_bytes(b"PK damaged")
    (tmp_path / "registry" / wheel.name).unlink()
    capsys.readouterr()
    with pytest.raises(SourceError, match=rf"the cached {wheel} is not the pinned one, and pip cannot download"):
        sources.fetch(address)
    found = hashlib.sha256(b"PK damaged").hexdigest()
    assert f"the cached {wheel} is not the pinned one (sha256 {found}), downloading anew" in capsys.readouterr().out


def test_a_wheel_that_the_registry_has_not_is_an_error_in_pips_words(registry: str, var: Path) -> None:
    with pytest.raises(SourceError, match=r"No matching distribution found for tidedata==2\.0"):
        sources.fetch("wheel://tidedata==2.0/tidedata/a.csv")
    assert not list(var.rglob("*.whl"))


def test_a_source_archive_is_never_taken(registry: str, tmp_path: Path) -> None:
    (tmp_path / "registry" / "evil-1.0.tar.gz").write_bytes(b"")
    with pytest.raises(SourceError, match="No matching distribution"):
        sources.fetch("wheel://evil==1.0/a.csv")


def test_a_download_that_takes_too_long_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(command: list[str], **options: Any) -> Any:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(sources.subprocess, "run", late)
    with pytest.raises(SourceError, match="no download within 30 minutes"):
        sources.fetch("wheel://tidedata==1.0/a.csv")


def test_a_missing_pip_is_an_error_that_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 1, "", "/venv/bin/python: No module named pip\n")
    monkeypatch.setattr(sources.subprocess, "run", lambda *args, **options: done)
    with pytest.raises(SourceError, match=r"No module named pip.*ensurepip"):
        sources.fetch("wheel://tidedata==1.0/a.csv")


@pytest.mark.parametrize(
    ("address", "cause"),
    [
        ("wheel://tidedata/a.csv", "is not of the form wheel://"),
        ("wheel://tidedata==1.*/a.csv", "is not of the form wheel://"),
        ("wheel://--index-url==1.0/a.csv", "is not of the form wheel://"),
        ("wheel://tidedata==1.0/a.csv?sha256=abc", "is not of the form wheel://"),
        ("wheel://tidedata==1.0/../a.csv", "path holds '.', '..'"),
        ("wheel://tidedata==1.0//etc/passwd", "path is absolute"),
        ("hf://datasets/owner/name/a.csv", "names no revision"),
        ("hf://datasets/owner/name@main", "names no file"),
        ("hf://name@main", "is not of the form hf://"),
        ("s3://bucket/key", "the scheme s3:// is not known"),
    ],
)
def test_an_address_that_is_not_understood_is_refused_before_anything_is_fetched(address: str, cause: str) -> None:
    with pytest.raises(SourceError) as caught:
        sources.fetch(address)
    assert cause in caught.value.cause
    assert caught.value.remedy


def test_a_local_file_and_a_local_folder_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\n")
    assert sources.fetch(str(tmp_path / "a.csv")) == tmp_path / "a.csv"
    assert sources.fetch(str(tmp_path)) == tmp_path


def test_a_missing_local_file_is_named_with_one_that_is_near(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("text\n")
    with pytest.raises(SourceError, match=r"no such file \(did you mean mine.csv\?\)"):
        sources.fetch(str(tmp_path / "mime.csv"))


def test_a_path_with_a_null_character_is_refused() -> None:
    with pytest.raises(SourceError, match="is no path of a file"):
        sources.fetch("data/raw/a\0.csv")


def test_an_address_of_the_hub_is_fetched_from_there_into_the_downloads(
    monkeypatch: pytest.MonkeyPatch, var: Path
) -> None:
    monkeypatch.setattr(hub, "fetch", lambda address, *, cache: cache / address)
    assert sources.fetch("hf://own/model@main") == var / "downloads" / "hub" / "hf://own/model@main"
    assert "may move" in (sources.unpinned("hf://own/model@main") or "")


def test_a_model_folder_has_to_be_pinned_and_to_be_what_its_pin_says(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(SourceError, match="is not pinned") as refused:
        sources.fetch_model(str(folder))
    address = f"{folder}?sha256={files.digest_folder(folder)}"
    assert address in refused.value.remedy
    assert sources.fetch_model(address) == folder
    (folder / "config.json").write_text("{ }")
    with pytest.raises(SourceError, match="is not what its pin says"):
        sources.fetch_model(address)
