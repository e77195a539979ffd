"""Asks a served package, in a fresh process and over HTTP, what was asked of it before."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tidegate.errors import RegistryError
from tidegate.process import leave_no_orphans
from tidegate.serving.settings import KEYS

_AT_ONCE = 32
"""Golden texts a request."""
_ANSWER_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 20


def largest_difference(package: Path, golden: list[dict[str, Any]], *, start_timeout_s: float) -> float:
    """The largest absolute difference of a probability between the answers and what is expected.

    Args:
        package: the folder to serve.
        golden: not empty; by text `text` and `probabilities` (a list, in the order of the package's labels).
        start_timeout_s: seconds until the service has to be ready.

    Raises:
        RegistryError: the service does not start, or does not answer.
    """
    import httpx

    given: list[list[float]] = []
    with (
        served(package, start_timeout_s=start_timeout_s) as address,
        httpx.Client(timeout=_ANSWER_TIMEOUT_S, trust_env=False) as client,  # no proxy on the way to ourselves
    ):
        for start in range(0, len(golden), _AT_ONCE):
            texts = [row["text"] for row in golden[start : start + _AT_ONCE]]
            try:
                answer = client.post(f"{address}/predict", json={"texts": texts})
            except httpx.HTTPError as error:
                raise _unproven(package, f"gave no answer ({type(error).__name__}: {error})") from error
            if answer.status_code != httpx.codes.OK:
                raise _unproven(package, f"answered a golden request with {answer.status_code}: {answer.text[:200]}")
            given += [list(row["probabilities"].values()) for row in answer.json()["predictions"]]
    expected: list[list[float]] = [row["probabilities"] for row in golden]
    if list(map(len, given)) != list(map(len, expected)):
        raise _unproven(package, "knows other labels than those that the golden requests were answered with")
    return max(abs(p - q) for ps, qs in zip(expected, given, strict=True) for p, q in zip(ps, qs, strict=True))


def _unproven(package: Path, cause: str) -> RegistryError:
    return RegistryError(
        f"the served package {package}", cause, "Nothing was promoted. Run `python -m tidegate serve` on it to see why"
    )


@contextmanager
def served(package: Path, *, start_timeout_s: float) -> Iterator[str]:
    """The address of a service of the package, on a free port of 127.0.0.1, stopped at the end.

    Raises:
        RegistryError: it is not ready in time; says what it printed.
    """
    leave_no_orphans()
    command = [sys.executable, "-m", "tidegate", "serve", str(package), "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != KEYS}  # keys are for clients
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    timer = threading.Timer(start_timeout_s, process.kill)
    timer.start()
    try:
        address = _announced(process, package)
        timer.cancel()
        yield address
    finally:
        timer.cancel()
        _stop(process)


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def _announced(process: "subprocess.Popen[str]", package: Path) -> str:
    lines = []
    for line in process.stdout or ():
        if line.startswith("serving ") and " on " in line:
            return line.rpartition(" on ")[2].strip()
        lines.append(line)
    raise _unproven(package, f"did not become ready ({' '.join(''.join(lines[-3:]).split()) or 'no output'})")
