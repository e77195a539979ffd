"""What a process does about the one that started it: dies with it, so that no run leaves orphans behind."""

import os
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

_SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh"}
_PATIENCE_S = 0.5


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

    while starter.is_running() and starter.status() != psutil.STATUS_ZOMBIE:
        time.sleep(_PATIENCE_S)
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(137)
