"""Stage select: dominance and policy by tables, then the files."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate import files
from tidegate.errors import DataError, PackageError
from tidegate.evidence import predictions
from tidegate.evidence.scoring import Predictions
from tidegate.stages import select
from tidegate.stages.select import Candidate, choose, dominates, undominated

PARAMS = select.Params(
    policy="cheapest_not_inferior", reference="teacher", margin=0.01, cost="latency_ms", confidence=0.95,
    replicates=200, seed=1, most_flips=0.01,
)  # fmt: skip
ROOMY = replace(PARAMS, margin=0.02)
LABELS = ("negative", "neutral", "positive")


def one(name: str, accuracy: float, latency_ms: float, size: int, flips: float = 0.0) -> Candidate:
    return Candidate(name=name, accuracy=accuracy, macro_f1=accuracy, latency_ms=latency_ms, bytes=size, flips=flips)


def lower_ends(**low: float | None) -> dict[str, dict[str, Any]]:
    return {name: {"value": 0.0, "low": end, "high": 0.1} for name, end in low.items()}


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0.8, 5, 90), (0.7, 6, 91), True),
        ((0.8, 5, 90), (0.8, 5, 91), True),
        ((0.8, 5, 90), (0.8, 6, 90), True),
        ((0.9, 5, 90), (0.8, 5, 90), True),
        ((0.8, 5, 90), (0.8, 5, 90), False),
        ((0.8, 5, 90), (0.7, 4, 90), False),
        ((0.8, 5, 90), (0.7, 5, 89), False),
        ((0.7, 5, 90), (0.8, 6, 91), False),
    ],
)
def test_dominance(a: tuple[float, float, int], b: tuple[float, float, int], expected: bool) -> None:
    assert dominates(one("a", *a), one("b", *b)) is expected


figures = st.tuples(st.sampled_from([0.7, 0.8, 0.9]), st.sampled_from([1.0, 2.0, 3.0]), st.integers(1, 3))


@given(st.lists(figures, min_size=1, max_size=8))
def test_the_frontier_is_never_empty_and_covers_all_others(facts: list[tuple[float, float, int]]) -> None:
    candidates = [one(str(n), *fact) for n, fact in enumerate(facts)]
    best = [candidate for candidate in candidates if candidate.name in undominated(candidates)]
    assert best
    assert all(c in best or any(dominates(b, c) for b in best) for c in candidates)
    assert not any(dominates(a, b) for a in best for b in best)


TEACHER, STUDENT, INT8 = one("teacher", 0.76, 5, 90), one("student", 0.75, 2, 40), one("int8", 0.755, 3, 23)


@pytest.mark.parametrize(
    ("change", "low", "expected"),
    [
        ({}, {"student": -0.009, "int8": -0.005}, "student"),
        ({"cost": "bytes"}, {"student": -0.009, "int8": -0.005}, "int8"),
        ({}, {"student": -0.02, "int8": -0.005}, "int8"),
        ({}, {"student": -0.02, "int8": -0.02}, "teacher"),
        ({}, {"student": -0.01, "int8": -0.02}, "teacher"),  # on the margin is not above it
        ({}, {"student": None, "int8": None}, "teacher"),  # too few groups show nothing
        ({"margin": 0.03}, {"student": -0.02, "int8": -0.02}, "student"),
        ({"policy": "most_accurate"}, {"student": -0.009, "int8": -0.005}, "teacher"),
    ],
)
def test_the_policy(change: dict[str, Any], low: dict[str, float | None], expected: str) -> None:
    chosen, reason = choose(replace(PARAMS, **change), [INT8, STUDENT, TEACHER], lower_ends(**low))
    assert chosen.name == expected
    assert reason


def test_among_equally_fast_ones_the_smaller_is_chosen() -> None:
    small = one("small", 0.75, 2, 30)
    assert choose(PARAMS, [TEACHER, STUDENT, small], lower_ends(student=0.0, small=0.0))[0] == small


def test_the_only_candidate_is_chosen_and_the_reason_says_so() -> None:
    assert choose(PARAMS, [TEACHER], {}) == (TEACHER, "it is the only candidate")


def test_the_reason_names_figures_bound_and_who_was_not_shown_to_be_sound() -> None:
    _, reason = choose(PARAMS, [INT8, STUDENT, TEACHER], lower_ends(student=-0.05, int8=-0.005))
    assert "fastest of 2 not inferior" in reason
    assert "at least -0.005 at 95% confidence, allowed is -0.01" in reason
    assert "not shown to be within 0.01: student" in reason


@pytest.mark.parametrize("policy", ["cheapest_not_inferior", "most_accurate"])
def test_a_candidate_whose_answers_depend_on_the_batch_is_not_chosen(policy: Literal["most_accurate"]) -> None:
    candidates = [
        one("dynamic", 0.9, 1.0, 10, flips=0.011),
        one("static", 0.85, 2.0, 10),
        one("teacher", 0.8, 9.0, 90, 0.5),
    ]
    ends = lower_ends(dynamic=0.0, static=0.0)
    chosen, reason = choose(replace(PARAMS, policy=policy), candidates, ends)
    assert chosen.name == "static"
    assert reason.endswith("labels depend on the batch in more than 1.0%: dynamic")
    assert choose(replace(PARAMS, policy=policy, most_flips=0.02), candidates, ends)[0].name == "dynamic"


@pytest.fixture
def artifacts(tmp_path: Path, package_folder: Callable[..., Path]) -> dict[str, Path]:
    """A teacher that is right on 380 of 400 rows, a fast copy right on 379, a faster one right on 320."""
    out = tmp_path / "validation_predictions"
    right = {"teacher": (380, 5.0), "student": (379, 2.0), "tiny": (320, 1.0)}
    compared = {}
    for name, (rows, latency_ms) in right.items():
        predictions.write(out / f"{name}.parquet", predicted(rows))
        folder = package_folder(name=name)
        compared[name] = {
            "digest": files.digest_folder(folder), "package": f"packages/{name}", "bytes": 100,
            "accuracy": {"value": rows / 400, "low": None, "high": 0.99}, "macro_f1": {"value": rows / 400},
            "rows": 400,
            "latency": {"single_ms": {"p50": latency_ms}},
        }  # fmt: skip
    (tmp_path / "comparison.json").write_text(json.dumps(compared))
    (tmp_path / "quantization.json").write_text(json.dumps({name: {"flips": 0.0} for name in right}))
    return {
        "comparison": tmp_path / "comparison.json", "quantization": tmp_path / "quantization.json",
        "packages": tmp_path / "packages", "validation_predictions": out,
        "selection": tmp_path / "selection.json", "frontier": tmp_path / "frontier.csv",
        "candidates": tmp_path / "candidates.svg", "candidate": tmp_path / "candidate",
    }  # fmt: skip


def predicted(right: int) -> Predictions:
    actual = np.arange(400) % 3
    given_ = np.where(np.arange(400) < right, actual, (actual + 1) % 3)
    names = np.array([f"r{n}" for n in range(400)])
    return Predictions(names, names, LABELS, actual.astype(np.int64), np.eye(3)[given_])


def test_the_cheapest_that_is_shown_not_inferior_is_chosen_and_copied(
    artifacts: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    select.run(ROOMY, **artifacts)
    found = json.loads(artifacts["selection"].read_text())
    assert found["chosen"] == "student"
    assert found["digest"] == files.digest_folder(artifacts["candidate"])
    assert found["policy"] == "cheapest_not_inferior"
    assert found["frontier"] == ["student", "teacher", "tiny"]
    assert found["differences"]["tiny"]["high"] < -0.1
    assert "chosen: student" in capsys.readouterr().out


def test_the_frontier_is_a_table_for_plots(artifacts: dict[str, Path]) -> None:
    select.run(ROOMY, **artifacts)
    with artifacts["frontier"].open() as stream:
        rows = {row["candidate"]: row for row in csv.DictReader(stream)}
    assert list(rows["student"]) == [
        "candidate", "accuracy", "macro_f1", "latency_ms", "bytes", "on_frontier", "chosen"
    ]  # fmt: skip
    assert [rows[name]["chosen"] for name in ("teacher", "student", "tiny")] == ["false", "true", "false"]
    assert float(rows["teacher"]["accuracy"]) == 0.95


def test_the_picture_names_every_candidate(artifacts: dict[str, Path]) -> None:
    select.run(ROOMY, **artifacts)
    picture = artifacts["candidates"].read_text(encoding="utf-8")
    assert all(name in picture for name in ("teacher", "student", "tiny", "reference minus margin"))


def test_a_reference_that_is_no_candidate_is_named_with_those_there_are(artifacts: dict[str, Path]) -> None:
    with pytest.raises(DataError, match=r"'nobody', which is no candidate.*student, teacher, tiny"):
        select.run(replace(PARAMS, reference="nobody"), **artifacts)


def test_a_package_that_changed_since_it_was_compared_is_refused(artifacts: dict[str, Path]) -> None:
    (artifacts["packages"] / "student" / "package.json").write_text("{}")
    with pytest.raises(PackageError, match="compared was"):
        select.run(ROOMY, **artifacts)
    assert not artifacts["selection"].exists()
    assert not artifacts["candidate"].exists()
