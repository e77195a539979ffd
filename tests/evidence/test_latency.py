"""Latency: which calls are timed and in whose turn, by a clock that the test turns itself."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest

from tidegate.evidence.latency import measure, measure_together, size
from tidegate.package import Package


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """A package whose call costs so many seconds a text; the first call of a turn costs ten times that."""

    threads = 2

    def __init__(self, name: str, seconds: float, clock: Clock, calls: list[str]) -> None:
        self.name, self.seconds, self.clock, self.calls = name, seconds, clock, calls

    def predict(self, texts: Sequence[str], *, batch_size: int = 32) -> None:
        cold = not self.calls or self.calls[-1] != self.name
        self.calls.append(self.name)
        self.clock.now += self.seconds * len(texts) * (10 if cold else 1)


def slow(*names: str, seconds: float = 0.001) -> tuple[dict[str, Package], Clock, list[str]]:
    clock, calls = Clock(), list[str]()
    return (
        {name: cast("Package", Slow(name, seconds * (n + 1), clock, calls)) for n, name in enumerate(names)},
        clock,
        calls,
    )


def test_single_texts_and_batches_are_timed_warm() -> None:
    packages, clock, _ = slow("a")
    found = measure(packages["a"], ["x"] * 8, repeats=2, batch_size=4, clock=clock)
    assert found["single_ms"] == pytest.approx({"p50": 1, "p95": 1})
    assert found["batch_ms"] == pytest.approx({"p50": 4, "p95": 4})
    assert found["texts_per_second"] == pytest.approx(1000)
    assert {key: found[key] for key in ("batch_size", "texts", "threads")} == {
        "batch_size": 4,
        "texts": 8,
        "threads": 2,
    }


def test_packages_take_turns_and_none_always_goes_first() -> None:
    packages, clock, calls = slow("a", "b", "c")
    measure_together(packages, ["x"] * 6, repeats=1, batch_size=2, clock=clock)
    turns = [name for n, name in enumerate(calls) if n == 0 or calls[n - 1] != name]
    assert "".join(turns) == "abcbcacab"


def test_each_package_has_its_own_figures() -> None:
    packages, clock, _ = slow("a", "b")
    found = measure_together(packages, ["x"] * 4, repeats=3, batch_size=2, clock=clock)
    assert found["b"]["single_ms"]["p50"] == pytest.approx(2 * found["a"]["single_ms"]["p50"])


def test_fewer_texts_than_a_batch_fill_it_over_again() -> None:
    packages, clock, _ = slow("a")
    found = measure(packages["a"], ["x", "y", "z"], repeats=1, batch_size=32, clock=clock)
    assert found["batch_ms"]["p50"] == pytest.approx(32)
    assert found["texts"] == 3


def test_real_packages_are_measured_with_a_real_clock(package_folder: Any) -> None:
    loaded = Package.load(package_folder(), threads=1)
    found = measure(loaded, ["a good film", "bad"], repeats=2, batch_size=4)
    assert 0 < found["single_ms"]["p50"] <= found["single_ms"]["p95"]
    assert np.isfinite(found["texts_per_second"])
    assert found["threads"] == 1
    assert size(loaded) == sum(file.stat().st_size for file in loaded.folder.iterdir())
