"""A worktree of a run shares what it should, and leaves the user's tree and branch alone."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.errors import RegistryError
from tidegate.release import worktrees

Git = Callable[..., str]
STAGE = "stages:\n  one:\n    cmd: cp data/raw/in.txt out.txt\n    deps: [data/raw]\n    outs: [out.txt]\n"
FILES = {
    "dvc.yaml": STAGE, "params.yaml": "gate: {mode: replace} # how\n", ".gitignore": "/data/raw\n/out.txt\n/var\n"
}  # fmt: skip


@pytest.fixture
def root(repository: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    made = repository(FILES)
    (made / "data" / "raw").mkdir(parents=True)
    (made / "data" / "raw" / "in.txt").write_text("mine")
    monkeypatch.delenv("TIDEGATE_VAR")
    monkeypatch.chdir(made)
    return made


def test_it_holds_the_tree_and_the_users_files_and_shares_the_cache(root: Path, git: Git) -> None:
    git(root, "branch", "kept")
    (root / "dvc.yaml").write_text("stages: {}\n")
    with worktrees.checked_out(root, "r1", at="kept") as folder:
        assert (folder / "dvc.yaml").read_text() == STAGE
        assert (folder / "data" / "raw" / "in.txt").read_text() == "mine"
        assert git(folder, "branch", "--show-current") == "tidegate/r1"
        assert folder == root / "var" / "worktrees" / "r1"
        subprocess.run(["dvc", "repro", "-q"], cwd=folder, check=True)
        assert (folder / "out.txt").read_text() == "mine"
    cached = [path for path in (root / ".dvc" / "cache").rglob("*") if path.is_file()]
    assert any(path.read_text() == "mine" for path in cached)
    assert not folder.exists()


def test_the_users_tree_stays_as_it_is_and_the_branch_remains(root: Path, git: Git) -> None:
    (root / "new.txt").write_text("not added")
    before = git(root, "status", "--porcelain"), git(root, "rev-parse", "HEAD"), git(root, "branch", "--show-current")
    with worktrees.checked_out(root, "r1", at="HEAD") as folder:
        worktrees.set_params(folder, "gate: {mode: recover}")
        made = worktrees.commit(folder, "What drifted")
    after = git(root, "status", "--porcelain"), git(root, "rev-parse", "HEAD"), git(root, "branch", "--show-current")
    assert after == before
    assert git(root, "rev-parse", "tidegate/r1") == made
    assert git(root, "show", "tidegate/r1:params.yaml") == "gate: {mode: recover} # how"
    assert (root / "params.yaml").read_text() == FILES["params.yaml"]


def test_a_failure_inside_takes_the_worktree_away_all_the_same(root: Path, git: Git) -> None:
    with pytest.raises(ZeroDivisionError), worktrees.checked_out(root, "r1", at="HEAD"):
        raise ZeroDivisionError
    assert git(root, "worktree", "list").count("\n") == 0


def test_what_git_refuses_is_said(root: Path) -> None:
    with pytest.raises(RegistryError, match=r"`git worktree add` failed"), worktrees.checked_out(root, "r", at="nope"):
        pytest.fail("it was made")
