"""The tree that was run is kept whole, and nothing of the user's changes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.errors import DataError
from tidegate.release import trees

Git = Callable[..., str]


@pytest.fixture
def root(repository: Callable[..., Path]) -> Path:
    return repository({"a.txt": "old", ".gitignore": "/data\n"})


def test_a_clean_tree_is_kept_as_it_is_committed(root: Path, git: Git) -> None:
    made = trees.keep(root, "d1")
    head = git(root, "rev-parse", "HEAD")
    assert (made["revision"], made["dirty"]) == (head, "false")
    assert git(root, "rev-parse", trees.ref("d1")) == made["tree"]
    assert git(root, "rev-parse", f"{made['tree']}^{{tree}}") == git(root, "rev-parse", "HEAD^{tree}")


def test_changes_new_files_and_removals_are_part_of_it_and_what_git_ignores_is_not(root: Path, git: Git) -> None:
    (root / "a.txt").write_text("new")
    (root / "b.txt").write_text("not added")
    (root / ".dvcignore").unlink()
    (root / "data").mkdir()
    (root / "data" / "big").write_text("ignored")
    before = git(root, "status", "--porcelain")
    made = trees.keep(root, "d1")
    files = git(root, "ls-tree", "-r", "--name-only", made["tree"]).splitlines()
    assert "b.txt" in files
    assert not {"data/big", ".dvcignore"} & set(files)
    assert git(root, "show", f"{made['tree']}:a.txt") == "new"
    assert made["dirty"] == "true"
    assert git(root, "status", "--porcelain") == before
    assert git(root, "log", "--format=%s", "main") == "Start"


def test_a_tree_that_is_kept_stays(root: Path) -> None:
    first = trees.keep(root, "d1")
    (root / "a.txt").write_text("new")
    assert trees.keep(root, "d1")["tree"] == first["tree"]
    assert trees.keep(root, "d2")["tree"] != first["tree"]


def test_before_the_first_commit_there_is_a_tree_all_the_same(tmp_path: Path, git: Git) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("new")
    made = trees.keep(tmp_path, "d1")
    assert (made["revision"], made["dirty"]) == ("none", "true")
    assert git(tmp_path, "show", f"{made['tree']}:a.txt") == "new"


def test_what_git_refuses_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="`git add` failed"):
        trees.keep(tmp_path / "..", "d1")
