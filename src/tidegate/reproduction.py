"""Runs DVC inside this process: what is stale, the whole pipeline, one stage. The only importer of dvc.

DVC decides what has to run. One run at a time owns a checkout, whichever way it was started.
"""

import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.errors import BusyError, PipelineError
from tidegate.files import write_json
from tidegate.process import leave_no_orphans

if TYPE_CHECKING:
    from dvc.repo import Repo

_dvc = threading.Lock()
"""In front of DVC's own lock, which polls and gives up: threads queue here instead."""


@contextmanager
def owning(root: Path, command: str) -> Iterator[None]:
    """Holds the checkout for one run, and works in it: DVC wants it to be the working directory.

    Raises:
        BusyError: another run holds it; says which, and since when.
        PipelineError: it is no checkout.
    """
    from filelock import FileLock, Timeout

    if not (root / ".dvc").is_dir():
        raise PipelineError(str(root), "is not a DVC repository", "Run in the root of the clone")
    folder = root / ".dvc" / "tmp"
    folder.mkdir(exist_ok=True)
    holder = folder / "tidegate-run.json"
    try:
        held = FileLock(folder / "tidegate-run.lock").acquire(timeout=0)
    except Timeout:
        remedy = "Wait for it to end, or stop it, and run again"
        raise BusyError(f"the checkout {root}", _held_by(holder), remedy) from None
    with held, chdir(root):
        leave_no_orphans()
        write_json(holder, {"pid": os.getpid(), "command": command, "since": time.strftime("%Y-%m-%d %H:%M:%S")})
        yield


def _held_by(holder: Path) -> str:
    try:
        who = json.loads(holder.read_text(encoding="utf-8"))
        return f"is held by `{who['command']}` (process {who['pid']}, since {who['since']})"
    except (OSError, ValueError, KeyError):
        return "is held by another run"


def stale(root: Path) -> list[str]:
    """The names of the stages that `dvc repro` would look at again, as `dvc status` lists them."""
    with _opened(root) as repo, _dvc:
        return sorted(name for name in repo.status() if not name.endswith(".dvc"))


def reproduce(root: Path) -> list[str]:
    """`dvc repro`: runs what is stale, one stage after the other.

    Returns:
        The names of the stages that were run or restored.

    Raises:
        PipelineError: a stage failed; what was finished before is kept.
    """
    with _opened(root) as repo:
        return _reproduced(repo, targets=None)


def run_stage(root: Path, name: str, log: Path) -> bool:
    """`dvc repro --single-item`: may be called from several threads at once, for different stages.

    The output of the stage's command goes to the file `log`.

    Returns:
        Whether the stage was stale (then it was run, or restored from the run-cache).

    Raises:
        PipelineError: the stage failed.
    """
    with _opened(root) as repo:
        repo.lock = _Queued(repo.lock)
        return bool(_reproduced(repo, targets=[name], single_item=True, run_env={"TIDEGATE_LOG": str(log)}))


def push(root: Path) -> int | None:
    """Sends the artifacts of the current state, and the run-cache, to the default DVC remote.

    Returns:
        The number of files sent, as DVC counts (the run-cache each time); None where no remote is configured.
    """
    with _opened(root) as repo, _dvc:
        if not repo.config["core"].get("remote"):
            return None
        return int(repo.push(run_cache=True))


def cached(root: Path, md5: str) -> Path | None:
    """Where DVC's cache keeps the file of a digest; None where it does not."""
    with chdir(root), _opened(root) as repo, _dvc:
        path = Path(repo.cache.local.oid_to_path(md5))
        return path if path.exists() else None


def share_cache(root: Path, other: Path) -> None:
    """Lets another checkout of the same clone keep its artifacts in this one's cache."""
    with chdir(root), _opened(root) as repo:
        cache = repo.cache.local.path
    with chdir(other), _opened(other) as repo, repo.config.edit("local") as config:
        config["cache"]["dir"] = cache


def _reproduced(repo: "Repo", **options: Any) -> list[str]:
    from dvc.exceptions import DvcException

    try:
        return [stage.name for stage in repo.reproduce(**options)]
    except DvcException as error:
        raise PipelineError(*_explained(error)) from error


def _explained(error: BaseException) -> tuple[str, str, str]:
    """Object, cause and remedy, from the whole chain of DVC's errors."""
    from dvc.exceptions import ReproductionError
    from dvc.stage.exceptions import StageCmdFailedError

    chain = [error]
    while (deeper := chain[-1].__cause__) is not None:
        chain.append(deeper)
    named = re.search(r"'([^']+)'$", str(error)) if isinstance(error, ReproductionError) else None
    what = f"stage {named[1]!r}" if named else "the pipeline"
    if failed := next((link for link in chain if isinstance(link, StageCmdFailedError)), None):
        remedy = "Its own message stands above. Mend that and run again: what was finished is kept"
        return what, f"ended with exit code {str(failed).rpartition(' ')[2]}", remedy
    causes = [" ".join(str(link).split()).rstrip(".") for link in chain if not isinstance(link, ReproductionError)]
    return what, ": ".join(causes), "See the message above and `dvc status`, then run again"


@contextmanager
def _opened(root: Path) -> Iterator["Repo"]:
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo

    if Path.cwd() != root.resolve():  # DVC would read the dvc.yaml of the working directory
        raise ValueError(f"{root} is not the working directory")
    _show_log()
    try:
        with _dvc:
            repo = Repo(str(root))
    except NotDvcRepoError:
        raise PipelineError(str(root), "is not a DVC repository", "Run in the root of the clone") from None
    except DvcException as error:
        cause = " ".join(str(error).split())
        raise PipelineError(".dvc/config", f"is damaged ({cause})", "Restore it (`git checkout .dvc/config`)") from None
    with repo:
        try:
            yield repo
        except PipelineError:
            raise
        except DvcException as error:
            raise PipelineError(*_explained(error)) from error


def _show_log() -> None:
    """DVC's messages ("Running stage …") as its command line shows them; once a process."""
    import logging

    from dvc.logger import setup

    sys.stdout.flush()
    if not logging.getLogger("dvc").handlers:
        setup(level=logging.INFO)


class _Queued:
    """DVC's repository lock behind the mutex of this process, for `Repo.lock`."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def lock(self) -> None:
        """Waits for the threads before us, then for other processes."""
        _dvc.acquire()
        try:
            self._inner.lock()
        except BaseException:
            _dvc.release()
            raise

    def unlock(self) -> None:
        """Lets the next one in."""
        self._inner.unlock()
        _dvc.release()

    @property
    def is_locked(self) -> bool:
        """Whether DVC's lock is held by this repository object."""
        return bool(self._inner.is_locked)

    def __enter__(self) -> None:
        self.lock()

    def __exit__(self, *_: object) -> None:
        self.unlock()
