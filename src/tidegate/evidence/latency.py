"""How long packages take, through the runtime that serves them: raw text in, probabilities out.

Several packages are timed in turns, so that a machine that is slow for a while is slow for all of them.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tidegate import files
from tidegate.package import Package

Clock = Callable[[], float]
"""Seconds from some fixed moment on."""


def measure(
    package: Package, texts: Sequence[str], *, repeats: int, batch_size: int = 32, clock: Clock = time.perf_counter
) -> dict[str, Any]:
    """The latency of one package, see `measure_together`."""
    return measure_together({"": package}, texts, repeats=repeats, batch_size=batch_size, clock=clock)[""]


def measure_together(
    packages: Mapping[str, Package],
    texts: Sequence[str],
    *,
    repeats: int,
    batch_size: int = 32,
    clock: Clock = time.perf_counter,
) -> dict[str, dict[str, Any]]:
    """Times every text alone and in batches, `repeats` times over, the packages taking turns batch by batch.

    A turn begins with a batch that is not timed: it brings the model's weights back into the caches, as
    they are where one model serves alone. Who goes first changes from turn to turn.

    Args:
        texts: raw texts of real lengths; at least one.

    Returns:
        By name *latency* as docs/artifacts.md has it (milliseconds; texts a second in batches).
    """
    singles: dict[str, list[float]] = {name: [] for name in packages}
    batches: dict[str, list[float]] = {name: [] for name in packages}
    for turn, batch in enumerate(_batches(texts, batch_size) * repeats):
        for name in _rotated(list(packages), turn):
            _seconds(packages[name], batch, clock)
            singles[name] += [_seconds(packages[name], [text], clock) for text in batch]
            batches[name].append(_seconds(packages[name], batch, clock))
    return {
        name: {
            "single_ms": _milliseconds(singles[name]),
            "batch_ms": _milliseconds(batches[name]),
            "batch_size": batch_size,
            "texts_per_second": batch_size * len(batches[name]) / sum(batches[name]),
            "texts": len(texts),
            "threads": package.threads,
        }
        for name, package in packages.items()
    }


def size(package: Package) -> int:
    """The bytes of all files of the package."""
    return sum(file.stat().st_size for file in files.walk(package.folder))


def _batches(texts: Sequence[str], batch_size: int) -> list[list[str]]:
    """Cuts texts into full batches; the last one is filled up from the beginning."""
    starts = range(0, len(texts), batch_size)
    return [[texts[(start + offset) % len(texts)] for offset in range(batch_size)] for start in starts]


def _rotated(names: list[str], turn: int) -> list[str]:
    first = turn % len(names)
    return names[first:] + names[:first]


def _seconds(package: Package, batch: list[str], clock: Clock) -> float:
    start = clock()
    package.predict(batch, batch_size=len(batch))
    return clock() - start


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    p50, p95 = np.percentile(np.array(seconds) * 1000, [50, 95])
    return {"p50": float(p50), "p95": float(p95)}
