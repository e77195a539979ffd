"""What a process does about the one that started it: dies with it, so that no run leaves orphans behind."""

import os
import subprocess
import sys
import threading
import time
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

_SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh"}
_PATIENCE_S = 0.5
_RUN = "TIDEGATE_RUN"
"""The environment variable by which all that a run started, directly or not, is known."""
_sentinels: list["subprocess.Popen[bytes]"] = []
"""Kept, because the pipe to a sentinel has to stay open as long as this process lives."""


def die_with_starter() -> None:
    """Watches the nearest ancestor that is no shell; when it ends, ends this process and all it started.

    Only under DVC or make (their environment variables tell): a service that a user starts by hand
    may outlive the terminal.
    """
    if "DVC_STAGE" not in os.environ and "MAKELEVEL" not in os.environ:
        return
    import psutil

    starters = [parent for parent in psutil.Process().parents() if parent.name() not in _SHELLS]
    if starters:
        threading.Thread(target=_watch, args=(starters[0],), name="die-with-starter", daemon=True).start()


def _watch(starter: "psutil.Process") -> None:
    import psutil

    while _lives(starter):
        time.sleep(_PATIENCE_S)
    try:
        _kill(psutil.Process().children(recursive=True))
    finally:
        os._exit(137)


def _lives(process: "psutil.Process") -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def leave_no_orphans() -> None:
    """From now on, whatever this process starts ends with it, even where it is killed: a sentinel sees to that.

    Services that libraries start, such as Prefect's, do not watch us; so a process beside us does.
    """
    if os.environ.get(_RUN, "").startswith(f"{os.getpid()}-"):
        return
    os.environ[_RUN] = f"{os.getpid()}-{uuid.uuid4().hex}"
    environment = {name: value for name, value in os.environ.items() if name != _RUN}
    sentinel = subprocess.Popen(
        [sys.executable, "-m", "tidegate.process", os.environ[_RUN]],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=environment, start_new_session=True,
    )  # fmt: skip
    _sentinels.append(sentinel)


def _sentinel(run: str) -> None:
    sys.stdin.read()  # ends when the last holder of the other end is gone
    import psutil

    _kill([process for process in psutil.process_iter() if _belongs(process, run)])


def _belongs(process: "psutil.Process", run: str) -> bool:
    import psutil

    try:
        return bool(process.environ().get(_RUN) == run)
    except (psutil.Error, OSError):  # gone, or somebody else's
        return False


def _kill(processes: list["psutil.Process"]) -> None:
    import psutil

    for process in processes:
        try:
            process.kill()
        except psutil.Error:
            continue


if __name__ == "__main__":
    _sentinel(sys.argv[1])
