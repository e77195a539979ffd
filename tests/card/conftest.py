"""A finished run of a made-up task, as the stages write it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DIGEST = "c" * 64


def metric(value: float | None, half: float = 0.01) -> dict[str, float | None]:
    sure = value is not None and half
    return {"value": value, "low": value - half if sure else None, "high": value + half if sure else None}  # type: ignore[operator]


def scored(accuracy: float, **others: Any) -> dict[str, Any]:
    names = ("macro_f1", "roc_auc", "log_loss", "expected_calibration_error")
    figures = {name: metric(accuracy - 0.05) for name in names}
    classes = {
        label: {"rows": 500, **{name: metric(f1) for name in ("precision", "recall", "f1")}}
        for label, f1 in (("bad", 0.81), ("good", 0.62))
    }
    slices = {
        name: {"rows": rows, "groups": rows, "accuracy": metric(value, half), "macro_f1": metric(value, half)}
        for name, rows, value, half in (("news", 900, 0.7, 0.02), ("films", 800, 0.9, 0.02), ("odd", 3, 0.3, 0))
    }
    made = {"accuracy": metric(accuracy), **figures, "classes": classes, "slices": {"channel": slices}}
    return made | {"digest": DIGEST, "rows": 1000, "groups": 400} | others


LATENCY = {
    "single_ms": {"p50": 1.0, "p95": 2.0}, "batch_ms": {"p50": 20.0, "p95": 40.0}, "batch_size": 32, "texts": 200,
    "texts_per_second": 900.0, "threads": 2,
}  # fmt: skip
TRAINED = {
    "epochs": 2, "rows": 5000, "device": "cpu", "precision": "32-true", "parameters": 22_000_000, "seconds": 100.0,
    "validation": {"accuracy": 0.77, "macro_f1": 0.7, "loss": 0.5},
}  # fmt: skip
SPLIT = {"rows": 1000, "groups": 400, "share": 0.2, "labels": {"bad": 600, "good": 400}}
CALIBRATED = {"expected_calibration_error": metric(0.05), "log_loss": metric(0.5)}


def effort(seconds: float, **changes: Any) -> dict[str, Any]:
    share = {"kwh": 0.002, "how": "estimated", "basis": "An assumption"}
    return {
        "seconds": seconds, "cpu_seconds": 2 * seconds, "parts": 1, "cores": 2, "processor": "Some CPU", "gpus": [],
        "energy": {"kwh": 0.002, "processors": share, "gpus": None},
    } | changes  # fmt: skip


RUN: dict[str, Any] = {
    "task": {"task": "films", "labels": ["bad", "good"], "slices": ["channel"]},
    "manifest": {
        "task": "films", "rows": 9000, "sampled": {"of": 10_000, "seed": 17},
        "sources": [
            {"name": "news", "address": "file://a.csv", "rows": 10_000, "licence": "CC0", "citation": "Somebody (2020)"}
        ],
    },
    "quality": {"rows": 9000, "quarantined": 12, "reasons": {"empty text": 12}},
    "cleaning": {
        "exact_duplicates": 124, "near_duplicates": 140, "masked": {"url": 3, "email": 1},
        "conflicting": {"dropped": 17},
    },
    "splits": {"train": SPLIT, "validation": SPLIT, "test": SPLIT, "withheld": {}},
    "leakage": {"groups_crossing": 0, "exact_crossing": 0, "near_crossing": 0, "withheld": 7},
    "tokenization": {
        "max_length": 128, "train": {"cut_share": 0.031, "unknown_share": 0.0},
        "validation": {"cut_share": 0.042, "unknown_share": 0.0},
    },
    "training": TRAINED,
    "distillation": {"student": TRAINED | {"layers": [0, 5], "agreement": 0.93, "parameters": 12_000_000}},
    "pruning": {
        "small": TRAINED | {
            "of": "student", "heads": 8, "neurons": None, "agreement": 0.91, "parameters": 9_000_000,
            "vocabulary": {"before": 30_000, "after": 12_000, "unknown_share_before": 0.0, "unknown_share_after": 0.02},
        }
    },
    "quantization": {
        "small_int8": {
            "of": "small", "activations": "static", "temperature": 1.25, "labels_kept": 0.99, "before": CALIBRATED,
            "after": CALIBRATED,
        }
    },
    "selection": {"chosen": "small_int8", "digest": DIGEST, "policy": "cheapest", "reason": "it is the fastest of 3"},
    "comparison": {
        "small_int8": {"robustness": {"rows": 300, "typing_errors": metric(0.88), "upper_case": metric(1.0)}}
    },
    "evaluation": {
        "rows": 1000, "groups": 400, "same_as": {"best": "champion"},
        "models": {
            "candidate": scored(0.75, latency=LATENCY, bytes=10_200_000), "baseline": scored(0.66),
            "champion": scored(0.74, latency=LATENCY, bytes=90_000_000),
        },
        "paired": {"baseline": {"accuracy": metric(0.09), "macro_f1": metric(0.08)}},
    },
    "decision": {
        "mode": "replace", "verdict": "pass", "reasons": ["All 2 rules that are on pass."], "candidate": DIGEST,
        "recipe": "e" * 64, "champion": "a" * 64, "best": None,
        "rules": [
            {"name": "baseline_accuracy", "verdict": "pass", "sentence": "It is shown to be above 0: 0.09."},
            {"name": "latency", "verdict": "off", "sentence": "Switched off."},
        ],
    },
    "train_effort": effort(300.0), "distill_effort": effort(400.0), "prune_effort": effort(60.0),
}  # fmt: skip

PARAMS = {"tokenize": {"encoder": "wheel://encoder==1"}, "gate": {"slice_minimum_rows": 100}, "promote": {"secret": 1}}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    """Writes the run, with some files put in the place of others; None leaves one out."""

    def make(**changes: Any) -> Path:
        for name, content in (RUN | changes).items():
            if content is not None:
                (tmp_path / f"{name}.json").write_text(json.dumps(content))
        return tmp_path

    return make


@pytest.fixture
def params() -> dict[str, Any]:
    return dict(PARAMS)
