"""Runs a service as a process: the port, the server, what it prints, and how it ends.

Paths and answers are in `app`.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import uvicorn

from tidegate.errors import BusyError
from tidegate.files import var_folder
from tidegate.package import Package
from tidegate.serving.answering import Model
from tidegate.serving.app import create_app
from tidegate.serving.championship import Follower, Served, champion
from tidegate.serving.guards import Keys
from tidegate.serving.patience import impatient
from tidegate.serving.prediction_log import PredictionLog
from tidegate.serving.service import Service
from tidegate.serving.settings import KEYS, Settings

_BACKLOG = 2_048
_KEEP_ALIVE_S = 75
"""Longer than load balancers keep an idle connection, so that it is they who end it, and no request meets the end."""


def serve_champion(root: Path, how: Settings, *, host: str, port: int) -> None:
    """Serves the champion of the task, whichever it is, until the process is told to end (SIGINT, SIGTERM).

    Requests under way are answered first. Prints `serving DIGEST on http://HOST:PORT` when ready.

    Args:
        port: 0 takes a free one.

    Raises:
        RegistryError: the task has no champion.
        PackageError: it is damaged, or answers otherwise than it was evaluated.
        BusyError: the port is taken, or the address is not this machine's.
        DataError: the prediction log cannot be opened.
    """
    os.environ["TIDEGATE_VAR"] = str(var_folder())  # git is asked once, not at every look
    served = Served(champion(root))
    with ExitStack() as stack:
        listener = stack.enter_context(_listening(host, port))
        log = stack.enter_context(PredictionLog(served.model.package.task, how.log_uri))
        service = stack.enter_context(closing(Service(served, how, log)))
        follower = Follower(root, served, poll_s=how.poll_s, shadow=how.shadow, changed=service.changed)
        stack.enter_context(closing(follower))
        print(f"serve: answers are logged in {log.shown}", flush=True)
        _run(service, listener, host)


def serve_package(folder: Path, how: Settings, *, host: str, port: int) -> None:
    """Serves one package as it is, to try it out: it is not followed, and nothing is logged. Else as the champion.

    Raises:
        PackageError: it cannot be loaded.
        BusyError: the port is taken, or the address is not this machine's.
    """
    served = Served(Model(Package.load(folder, threads=1), None))
    with _listening(host, port) as listener, closing(Service(served, how, None)) as service:
        _run(service, listener, host)


def _run(service: Service, listener: socket.socket, host: str) -> None:
    keys = Keys(os.environ.get(KEYS))
    if not keys:
        print(f"serve: no key is asked for: whoever reaches the port may ask ({KEYS} is not set)", flush=True)
    shown = f"[{host}]" if ":" in host else host
    announcement = f"serving {service.served.model.digest} on http://{shown}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        create_app(service, keys), log_level="warning", access_log=False, server_header=False, backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S, timeout_graceful_shutdown=service.how.shutdown_s,
        http=impatient(service.how.read_timeout_s),
    )  # fmt: skip
    with suppress(KeyboardInterrupt):  # the server ends in order and then passes the signal on
        _AnnouncedServer(config, announcement).run(sockets=[listener])
    print("stopped")


class _AnnouncedServer(uvicorn.Server):
    """Says on standard output that it is ready, once it really answers."""

    def __init__(self, config: uvicorn.Config, announcement: str) -> None:
        super().__init__(config)
        self.announcement = announcement

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(self.announcement, flush=True)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        remedy = "Choose another one with --host and --port, or stop who holds it"
        raise BusyError(f"{host}:{port}", f"cannot be listened on ({error})", remedy) from None
    with listener:
        yield listener
