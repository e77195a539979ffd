"""Asks a served package, in a fresh process and over HTTP, what was asked of it before."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tidegate.errors import RegistryError


def largest_difference(package: Path, golden: list[dict[str, Any]], *, start_timeout_s: float) -> float:
    """The largest absolute difference of a probability between the answers and what is expected.

    Args:
        package: the folder to serve.
        golden: by request `text` and `probabilities` (a list, in the order of the package's labels).
        start_timeout_s: seconds until the service has to be ready.

    Raises:
        RegistryError: the service does not start, or refuses a request.
    """
    import httpx

    with served(package, start_timeout_s=start_timeout_s) as address:
        answer = httpx.post(f"{address}/predict", json={"texts": [row["text"] for row in golden]}, timeout=60)
    if answer.status_code != httpx.codes.OK:
        cause = f"answered a golden request with {answer.status_code}: {answer.text[:200]}"
        raise RegistryError(f"the served package {package}", cause, "Nothing was promoted")
    expected = [row["probabilities"] for row in golden]
    given = [list(prediction["probabilities"].values()) for prediction in answer.json()["predictions"]]
    return max(
        (abs(p - q) for ps, qs in zip(expected, given, strict=True) for p, q in zip(ps, qs, strict=True)), default=0.0
    )


@contextmanager
def served(package: Path, *, start_timeout_s: float) -> Iterator[str]:
    """The address of a service of the package, on a free port of 127.0.0.1, stopped at the end.

    Raises:
        RegistryError: it is not ready in time; says what it printed.
    """
    command = [sys.executable, "-m", "tidegate", "serve", str(package), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    timer = threading.Timer(start_timeout_s, process.kill)
    timer.start()
    try:
        yield _announced(process, package)
    finally:
        timer.cancel()
        process.terminate()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _announced(process: "subprocess.Popen[str]", package: Path) -> str:
    lines = []
    for line in process.stdout or ():
        if line.startswith("serving ") and " on " in line:
            return line.rpartition(" on ")[2].strip()
        lines.append(line)
    cause = f"did not become ready ({' '.join(lines[-3:]).strip() or 'no output'})"
    raise RegistryError(f"the served package {package}", cause, "Run `python -m tidegate serve` on it to see why")
