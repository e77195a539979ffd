"""A small world to watch: short texts of two subjects in documents, and the settings that fit it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from monitoring import gauge
from monitoring.gauge import Gauge
from monitoring.reference import Reference
from monitoring.windows import Window
from tidegate import monitor_settings
from tidegate.monitor_settings import Settings

ROOT = Path(__file__).resolve().parents[2]
LABELS = ("negative", "neutral", "positive")
SUBJECTS = {
    "films": ["film", "plot", "actor", "scene", "screen", "camera", "director", "cinema", "story", "music"],
    "books": ["book", "page", "author", "chapter", "novel", "print", "cover", "reader", "library", "shelf"],
    "wares": ["phone", "screw", "cable", "paint", "hammer", "charger", "bolt", "wire", "engine", "oil"],
}


def rows_of(
    count: int, *, seed: int, subjects: Sequence[str] = ("films", "books"), shares: Sequence[float] = (0.4, 0.2, 0.4),
    together: int = 1, right: float = 0.8,
) -> pl.DataFrame:  # fmt: skip
    """Rows as the log has them; `together` of one subject and document follow each other."""
    chance = np.random.default_rng(seed)
    subject = np.repeat(chance.choice(subjects, count // together + 1), together)[:count]
    texts = [" ".join(chance.choice(SUBJECTS[one], int(chance.integers(4, 12)))) for one in subject]
    predicted = chance.choice(3, count, p=shares)
    top = chance.uniform(0.5, 1, count)
    probabilities = [
        [p if k == best else (1 - p) / 2 for k in range(3)] for best, p in zip(predicted, top, strict=True)
    ]
    actual = np.where(chance.random(count) < right, predicted, (predicted + 1) % 3)
    return pl.DataFrame(
        {
            "id": [f"{seed}-{i}" for i in range(count)],
            "at": 1000.0 + np.arange(count),
            "text": texts,
            "label": [LABELS[i] for i in predicted],
            "probabilities": probabilities,
            "tokens": [len(text.split()) + 2 for text in texts],
            "unknown": [0] * count,
            "audit": [True] * count,
            "document": [f"{seed}-d{i // together}" for i in range(count)],
            "actual": [LABELS[i] for i in actual],
        }
    )


def shipped(**changes: Any) -> Settings:
    """The settings that are shipped, but for some, with few replays."""
    return replace(monitor_settings.read(ROOT), **{"replays": 300, **changes})


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., pl.DataFrame]:
    return rows_of


@pytest.fixture(scope="session")
def settings() -> Settings:
    return shipped(window=monitor_settings.Window(rows=200, hours=None))


@pytest.fixture(scope="session")
def ready(settings: Settings) -> Gauge:
    """A gauge whose thresholds are kept nowhere."""
    return gauge.ready(Reference("m1", LABELS, rows_of(3000, seed=1)), settings, keep=False)


@pytest.fixture
def make_window(make_rows: Callable[..., pl.DataFrame]) -> Callable[..., Window]:
    def make(number: int = 1, *, model: str = "m1", count: int = 200, **more: Any) -> Window:
        rows = make_rows(count, seed=100 + number, **more)
        return Window(model, (number - 1) * count + 1, number * count, rows)

    return make
