"""Files are written whole or not at all, have one identity each, and `var/` is one for all worktrees."""

import copy
import errno
import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate import files
from tidegate.errors import DataError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_file_appears_whole_in_a_folder_that_did_not_exist(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.txt"
    with files.replacing(target) as draft:
        draft.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert everything(tmp_path) == ["a", "a/b.txt"]
    assert target.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [ValueError("bad row"), KeyboardInterrupt()])
def test_a_failure_in_the_middle_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    target = put(tmp_path / "a.txt", "old")
    with pytest.raises(type(error)), files.replacing(target) as draft:  # noqa: PT012
        draft.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert everything(tmp_path) == ["a.txt"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "package"
    put(target / "old.txt", "old")
    with files.replacing(target) as draft:
        put(draft / "new" / "n.txt", "new")
        assert everything(target) == ["old.txt"]
    assert everything(tmp_path) == ["package", "package/new", "package/new/n.txt"]


def test_a_failure_in_the_middle_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "package"
    put(target / "old.txt", "old")
    with pytest.raises(ValueError, match="stop"), files.replacing(target) as draft:  # noqa: PT012
        put(draft / "new.txt", "new")
        raise ValueError("stop")
    assert everything(tmp_path) == ["package", "package/old.txt"]


def test_nothing_written_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "package"
    put(target / "old.txt", "old")
    with pytest.raises(FileNotFoundError), files.replacing(target):
        pass
    assert everything(tmp_path) == ["package", "package/old.txt"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "package"
    put(target / "old.txt", "old")

    def refuse(self: Path, other: Path) -> None:
        raise PermissionError(errno.EACCES, "refused")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PermissionError), files.replacing(target) as draft:
        put(draft / "new.txt", "new")
    assert everything(tmp_path) == ["package", "package/old.txt"]


def test_a_link_is_replaced_and_what_it_pointed_to_is_spared(tmp_path: Path) -> None:
    cache = put(tmp_path / "cache.txt", "cached")
    (tmp_path / "a.txt").symlink_to(cache)
    with files.replacing(tmp_path / "a.txt") as draft:
        draft.write_text("new")
    assert (cache.read_text(), (tmp_path / "a.txt").read_text()) == ("cached", "new")
    assert not (tmp_path / "a.txt").is_symlink()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("place", ["write", "mkdtemp", "replace"])
def test_a_full_disk_is_a_data_error_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, place: str
) -> None:
    target = put(tmp_path / "a.txt", "old")

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(number, "full")

    if place == "mkdtemp":
        monkeypatch.setattr(files.tempfile, "mkdtemp", full)
    if place == "replace":
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DataError, match="no space is left") as caught, files.replacing(target) as draft:  # noqa: PT012
        draft.write_text("half")
        if place == "write":
            full()
    assert str(target) in str(caught.value)
    assert everything(tmp_path) == ["a.txt"]
    assert target.read_text() == "old"


def test_any_other_error_of_the_system_passes_through(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), files.replacing(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "refused")


@given(content=JSON)
def test_json_comes_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    files.write_json(path, content)
    assert files.read_json(path) == content
    before = path.read_bytes()
    files.write_json(path, files.read_json(path))
    assert path.read_bytes() == before


def test_equal_content_gives_equal_bytes_whatever_its_order(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"b": 1, "a": {"d": "é", "c": 2}})
    files.write_json(tmp_path / "b.json", {"a": {"c": 2, "d": "é"}, "b": 1})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.json").read_text(encoding="utf-8")
    assert text == '{\n  "a": {\n    "c": 2,\n    "d": "é"\n  },\n  "b": 1\n}\n'


def test_json_with_a_nan_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", "{}\n")
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, {"loss": math.nan})
    assert path.read_text() == "{}\n"


@pytest.mark.parametrize(("content", "words"), [(None, "is missing"), (b"{", "is damaged"), (b"\xff", "is damaged")])
def test_json_that_cannot_be_read_is_a_data_error(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        files.read_json(path)
    assert "dvc repro" in caught.value.remedy


def test_a_digest_of_json_does_not_depend_on_the_order_of_keys() -> None:
    assert files.digest_json({"a": 1, "b": [1, 2]}) == files.digest_json({"b": [1, 2], "a": 1})
    assert files.digest_json({"a": 1, "b": [1, 2]}) != files.digest_json({"a": 1, "b": [2, 1]})


def test_the_digest_of_a_file_is_its_sha_256(tmp_path: Path) -> None:
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256(put(tmp_path / "a", "abc")) == expected


def folder(root: Path, content: dict[str, str]) -> Path:
    root.mkdir()
    for name, text in content.items():
        put(root / name, text)
    return root


def test_the_digest_of_a_folder_depends_on_names_and_bytes_alone(tmp_path: Path) -> None:
    one = folder(tmp_path / "one", {"a.txt": "1", "b/c.txt": "2"})
    two = folder(tmp_path / "two", {"b/c.txt": "2", "a.txt": "1"})
    os.utime(two / "a.txt", (0, 0))
    (two / "a.txt").chmod(0o600)
    (two / "empty").mkdir()
    assert files.digest_folder(one) == files.digest_folder(two)


@pytest.mark.parametrize(
    "other",
    [
        {"a.txt": "1", "b/c.txt": "3"},
        {"a.txt": "1", "b/d.txt": "2"},
        {"a.txt": "1", "c.txt": "2"},
        {"a.txt": "2", "b/c.txt": "1"},
        {"a.txt": "1"},
        {"a.txt": "1", "b/c.txt": "2", "e": ""},
    ],
)
def test_another_name_or_byte_gives_another_digest(tmp_path: Path, other: dict[str, str]) -> None:
    one = folder(tmp_path / "one", {"a.txt": "1", "b/c.txt": "2"})
    assert files.digest_folder(one) != files.digest_folder(folder(tmp_path / "two", other))


def test_files_are_walked_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder(tmp_path / "one", {"b.txt": "", "a/z.txt": "", "a.txt": "", "B.txt": ""})
    names = [path.relative_to(tmp_path / "one").as_posix() for path in files.walk(tmp_path / "one")]
    assert names == ["B.txt", "a.txt", "a/z.txt", "b.txt"]


def test_var_is_one_for_all_worktrees(
    repository: Callable[..., Path], git: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TIDEGATE_VAR")
    root = repository({"src/a.py": ""})
    git(root, "worktree", "add", "-q", "--detach", str(tmp_path / "tree"))
    places = [root, root / "src", tmp_path / "tree", tmp_path / "tree" / "src"]
    assert {files.var_folder(place) for place in places} == {root / "var"}
    assert (root / "var").is_dir()
    monkeypatch.chdir(root / "src")
    assert files.var_folder() == root / "var"


def test_the_environment_names_another_var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_VAR", str(tmp_path / "state"))
    assert files.var_folder(tmp_path) == tmp_path / "state"
    assert (tmp_path / "state").is_dir()


def test_outside_of_a_repository_there_is_no_var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIDEGATE_VAR")
    with pytest.raises(DataError, match="is not inside a git repository"):
        files.var_folder(tmp_path)
    assert everything(tmp_path) == []


def test_the_draft_of_a_killed_process_is_removed_and_that_of_a_living_one_kept(tmp_path: Path) -> None:
    dead, living = tmp_path / ".out.json.99999999.x", tmp_path / f".out.json.{os.getpid()}.x"
    for draft in (dead, living):
        draft.mkdir()
    files.write_json(tmp_path / "out.json", 1)
    assert not dead.exists()
    assert living.exists()


def test_json_that_lacks_a_key_is_damaged(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", {"task": "t"})
    assert files.read_json(tmp_path / "x.json", "task") == {"task": "t"}
    with pytest.raises(DataError, match=r"x\.json: is damaged \(it lacks some of: task, labels\)"):
        files.read_json(tmp_path / "x.json", "task", "labels")


def test_a_key_that_json_lacks_names_the_file_however_deep_it_is_asked_for(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", {"models": [{"candidate": {"digest": "d"}}]})
    content = files.read_json(tmp_path / "x.json")
    for broken in (content, content["models"][0], content["models"][0]["candidate"]):
        with pytest.raises(DataError, match=r"x\.json: is damaged \(it lacks 'rows'\)\. Delete it and run `dvc repro`"):
            broken["rows"]
        assert broken.get("rows") is None
        assert "rows" not in broken
        assert pickle.loads(pickle.dumps(broken)) == copy.deepcopy(broken) == broken
