"""A checkout of its own for a run that nobody started by hand: at a kept tree, on a branch of its own.

The user's branch, index and files stay as they are. It shares git's objects, `var/` and DVC's cache with the clone.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidegate import reproduction
from tidegate.errors import RegistryError
from tidegate.files import replacing, var_folder
from tidegate.scenario import merged

_LOCAL = (".dvc/config.local",)
"""What git does not keep of a checkout and a run needs."""


def branch(name: str) -> str:
    """The branch of a run."""
    return f"tidegate/{name}"


@contextmanager
def checked_out(root: Path, name: str, *, at: str) -> Iterator[Path]:
    """A worktree at a commit, on the branch `tidegate/NAME`, which stays when the worktree is taken away.

    Args:
        root: the clone that it is one of.
        name: of the run; a branch of that name must not exist.
        at: the commit, such as the tree that made the champion.

    Raises:
        RegistryError: git refuses.
    """
    folder = var_folder(root) / "worktrees" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    _git(root, "worktree", "prune")  # those of runs that were killed, whose folders are gone
    _git(root, "worktree", "add", "--quiet", "-b", branch(name), str(folder), at)
    try:
        _furnish(root, folder)
        yield folder
    finally:
        _git(root, "worktree", "remove", "--force", str(folder))


def _furnish(root: Path, folder: Path) -> None:
    for name in _LOCAL:
        if (root / name).exists():
            shutil.copyfile(root / name, folder / name)
    if (root / "data" / "raw").is_dir():  # the user's own files are not in git
        shutil.copytree(root / "data" / "raw", folder / "data" / "raw", copy_function=_linked, dirs_exist_ok=True)
    else:
        (folder / "data" / "raw").mkdir(parents=True, exist_ok=True)
    reproduction.share_cache(root, folder)


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copy2(source, target)


def set_params(folder: Path, overlay: str) -> None:
    """Merges YAML into the `params.yaml` of a checkout, comments kept."""
    path = folder / "params.yaml"
    changed = merged(path.read_text(encoding="utf-8"), overlay, name="the params of this run")
    with replacing(path) as draft:
        draft.write_text(changed, encoding="utf-8")


def run(folder: Path, *words: str) -> int:
    """Runs a command of tidegate in a checkout, with the code of that checkout; gives its exit code."""
    paths = [str(folder / "src"), str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [sys.executable, "-m", "tidegate", *words], cwd=folder, env=environment, check=False
    ).returncode


def commit(folder: Path, message: str) -> str:
    """Commits all that a run changed on the branch of its worktree; gives the commit."""
    identity = ["-c", "user.name=tidegate", "-c", "user.email=tidegate@localhost"]
    _git(folder, "add", "--all")
    _git(folder, *identity, "commit", "--quiet", "--allow-empty", "--no-verify", "-m", message)
    return _git(folder, "rev-parse", "HEAD")


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        cause = f"`git {' '.join(words[:2])}` failed ({' '.join(done.stderr.split())[:300]})"
        raise RegistryError(f"the git repository {folder}", cause, "Mend that; the alarm stays in the ledger")
    return done.stdout.strip()
