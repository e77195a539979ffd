"""Stage champion: packages by pinned digest, never by name, never another one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidegate import files
from tidegate.errors import PackageError, RegistryError
from tidegate.package import Package
from tidegate.stages import champion
from tidegate.stages.champion import comparable

Make = Callable[..., Path]
TASK = {"task": "channels", "labels": ["negative", "neutral", "positive"], "slices": ["channel"]}
PARAMS = champion.Params()


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIDEGATE_VAR", str(tmp_path / "var"))
    (tmp_path / "task.json").write_text(json.dumps(TASK))
    return tmp_path / "task.json"


def stored(folder: Path, tmp_path: Path) -> str:
    digest = files.digest_folder(folder)
    shutil.copytree(folder, tmp_path / "var" / "packages" / digest)
    return digest


def fetched(task: Path, **pins: Any) -> tuple[Path, dict[str, Any]]:
    folder = task.parent / "champion"
    champion.run(PARAMS, inputs=pins, task=task, champion=folder)
    return folder, json.loads((folder / "champion.json").read_text())


def test_the_pinned_packages_are_fetched_by_digest(task: Path, package_folder: Make, tmp_path: Path) -> None:
    first = stored(package_folder(), tmp_path)
    second = stored(package_folder(name="older", seed=1), tmp_path)
    folder, found = fetched(task, champion=first, best=second)
    assert Package.load(folder / "champion").digest == first == found["champion"]["digest"]
    assert Package.load(folder / "best").digest == second == found["best"]["digest"]
    assert found["champion"]["comparable"]
    assert found["best"]["comparable"]


def test_without_pins_there_is_an_entry_a_role_and_no_package(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, found = fetched(task, champion=None, best=None)
    assert [file.name for file in files.walk(folder)] == ["champion.json"]
    empty = {"digest": None, "comparable": False, "reason": "none is pinned"}
    assert found == {"champion": empty, "best": empty}
    assert capsys.readouterr().out.splitlines() == ["champion: none, none is pinned", "best: none, none is pinned"]


@pytest.mark.parametrize(
    ("change", "expected", "words"),
    [
        ({}, True, "same task and labels"),
        ({"slices": []}, True, "same task and labels"),
        ({"task": "reviews"}, False, "its task is 'reviews', not 'channels'"),
        ({"labels": ["negative", "positive"]}, False, "its labels are ['negative', 'positive'], not"),
        ({"labels": ["positive", "neutral", "negative"]}, False, "its labels are ['positive'"),
    ],
)
def test_models_of_another_task_or_label_set_are_not_comparable(
    change: dict[str, Any], expected: bool, words: str
) -> None:
    found = comparable(TASK | change, TASK)
    assert found["comparable"] is expected
    assert found["reason"].startswith(words)


def test_a_champion_of_another_label_set_is_kept_with_the_reason(
    task: Path, package_folder: Make, tmp_path: Path
) -> None:
    digest = stored(package_folder(labels=("bad", "good")), tmp_path)
    folder, found = fetched(task, champion=digest, best=None)
    assert not found["champion"]["comparable"]
    assert (folder / "champion" / "model.onnx").is_file()


def test_a_digest_that_is_nowhere_tells_the_ways_out(task: Path) -> None:
    with pytest.raises(RegistryError, match=r"dvc pull.*restore var/.*python -m tidegate sync"):
        fetched(task, champion="0" * 64, best=None)
    assert not (task.parent / "champion").exists()


@pytest.mark.parametrize("pin", ["../../etc", "", 17, "0" * 63, "A" * 64])
def test_a_pin_that_is_no_digest_is_refused(task: Path, pin: object) -> None:
    with pytest.raises(RegistryError, match="is no digest"):
        fetched(task, champion=pin, best=None)


def test_a_package_that_is_not_what_its_digest_says_is_refused(
    task: Path, package_folder: Make, tmp_path: Path
) -> None:
    digest = stored(package_folder(), tmp_path)
    (tmp_path / "var" / "packages" / digest / "model.onnx").write_bytes(b"other")
    with pytest.raises(PackageError, match="is not what its digest says"):
        fetched(task, champion=digest, best=None)
    assert not (task.parent / "champion").exists()
