"""Keeps the tree that was run as a git ref, uncommitted changes and new files included, so that it can be run again.

Only git's own objects and `refs/tidegate/` are written: index, branch and files of the user stay as they are.
"""

import os
import subprocess
import tempfile
from pathlib import Path

from tidegate.errors import DataError

_IDENTITY = {"NAME": "tidegate", "EMAIL": "tidegate@localhost"}


def ref(decision: str) -> str:
    """The name under which the tree of a decision is kept."""
    return f"refs/tidegate/{decision}"


def keep(root: Path, decision: str) -> dict[str, str]:
    """Keeps the tree as it is now, once by decision: a tree that is kept already stays.

    What git ignores is not part of it; data is in DVC's cache, under the digests that `dvc.lock` names.

    Returns:
        `tree`: the commit that holds it; `revision`: the commit that was checked out ("none" before the first);
        `dirty`: "true" where the tree differs from that.

    Raises:
        DataError: git refuses, for want of space for one.
    """
    kept = _answer(root, "rev-parse", "--verify", "--quiet", ref(decision))
    if not kept:
        kept = _commit(root, _answer(root, "rev-parse", "--verify", "--quiet", "HEAD"), decision)
        _git(root, "update-ref", ref(decision), kept)
    revision = _answer(root, "rev-parse", "--verify", "--quiet", f"{kept}^")
    committed = revision and _git(root, "rev-parse", f"{revision}^{{tree}}")
    dirty = str(committed != _git(root, "rev-parse", f"{kept}^{{tree}}")).lower()
    return {"tree": kept, "revision": revision or "none", "dirty": dirty}


def _commit(root: Path, revision: str, decision: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}  # in place of the user's
        if revision:
            _git(root, "read-tree", revision, **index)
        _git(root, "add", "--all", **index)
        tree = _git(root, "write-tree", **index)
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in _IDENTITY.items()}
    parent = ["-p", revision] if revision else []
    return _git(root, "commit-tree", tree, *parent, "-m", f"The tree that decision {decision} comes from", **who)


def _git(root: Path, *words: str, **environment: str) -> str:
    done = _run(root, words, environment)
    if done.returncode:
        cause = f"`git {words[0]}` failed ({' '.join(done.stderr.split())[:300]})"
        raise DataError(f"the git repository {root}", cause, "Mend that and run `python -m tidegate promote`")
    return done.stdout.strip()


def _answer(root: Path, *words: str) -> str:
    """What git says, or nothing where it knows of none."""
    return _run(root, words, {}).stdout.strip()


def _run(root: Path, words: tuple[str, ...], environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["git", *words], cwd=root, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
