"""The benchmark of the gate: its worlds are what they claim to be, and the page shows what was measured."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tidegate.evidence.scoring import Predictions

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_of_the_gate", ROOT / "benchmarks" / "gate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said(right: float, seed: int) -> Predictions:
    """Rows in groups of three."""
    actual = np.random.default_rng(0).integers(0, 3, 3000)
    wrong = np.random.default_rng(seed).random(3000) >= right
    groups = (np.arange(3000) // 3).astype(str)
    return Predictions(groups, groups, ("a", "b", "c"), actual, np.eye(3)[(actual + wrong) % 3])


def accuracy(p: Predictions) -> float:
    return float((p.predicted == p.actual).mean())


@pytest.mark.parametrize("kind", ["simulated", "real"])
@pytest.mark.parametrize("loss", [0.0, 0.02])
def test_the_true_difference_is_the_one_asked_for(bench: ModuleType, kind: str, loss: float):
    base = said(0.75, 1)
    world: Any = bench.Simulated(base, 0.75) if kind == "simulated" else bench.Real(base, said(0.78, 2))
    found = []
    for seed in range(60):
        make = world.sample(np.random.default_rng(seed))
        found.append(accuracy(make(loss, 0)) - accuracy(make(0.0, 1)))
    assert np.mean(found) == pytest.approx(-loss, abs=4 * np.std(found) / np.sqrt(60))


def test_groups_are_drawn_whole(bench: ModuleType):
    numbers = np.array([0, 1, 1, 2, 2, 2, 0])
    rows, anew = bench.drawn_groups(numbers, np.random.default_rng(1))
    assert len(set(anew.tolist())) == 3
    for group in range(3):
        drawn = rows[anew == group]
        assert sorted(drawn) == np.flatnonzero(numbers == numbers[drawn[0]]).tolist()


def test_the_page_shows_what_was_measured(bench: ModuleType):
    found = json.loads((ROOT / "benchmarks" / "results" / "gate.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    before, _, rest = page.partition(bench.MARKS[0])
    assert before
    assert rest.partition(bench.MARKS[1])[0].strip() == bench.rendered(found)


@pytest.mark.parametrize("world", ["simulated", "real"])
def test_the_rates_measured_are_those_that_are_promised(world: str):
    """Where alpha is promised, the exact interval of the rate does not lie above it."""
    found = json.loads((ROOT / "benchmarks" / "results" / "gate.json").read_text(encoding="utf-8"))
    decided, alpha = found["worlds"][world]["decided"], found["alpha"]
    assert decided["0"]["replace"]["pass"]["low"] <= alpha
    assert decided[f"{-found['champion_margin']:g}"]["refresh"]["pass"]["low"] <= alpha
    assert found["worlds"][world]["chains"]["successive"]["with"]["margin"]["low"] <= alpha
