"""Stage evaluate: every model there is, on the test rows, once."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from tidegate import files, params
from tidegate.errors import DataError, PackageError
from tidegate.evidence import predictions
from tidegate.package import Package
from tidegate.stages import evaluate

Make = Callable[..., Path]
LABELS = ["negative", "neutral", "positive"]
TEXTS = ["a good film indeed", "the BAD book, sadly.", "the film  is the book"]
PARAMS = evaluate.Params(
    replicates=200, seed=3, slice_minimum_rows=5, batch_size=8, latency_texts=3, latency_repeats=1, golden=7
)


@pytest.fixture
def artifacts(tmp_path: Path, package_folder: Make) -> dict[str, Path]:
    """Sixty rows in thirty groups; the teacher is the candidate; no champion yet."""
    rows = pl.DataFrame(
        {
            "id": [f"r{n}" for n in range(60)],
            "text": [TEXTS[n % 3] for n in range(60)],
            "label": [("positive", "negative", "neutral")[n % 3] for n in range(60)],
            "group": [f"g{n // 2}" for n in range(60)],
            "channel": [("film", "book")[n % 2] for n in range(60)],
        }
    )
    data = tmp_path / "data"
    data.mkdir()
    rows.write_parquet(data / "test.parquet")
    files.write_json(data / "task.json", {"task": "channels", "labels": LABELS, "slices": ["channel"]})
    package_folder(data / "packages" / "teacher")
    shutil.copytree(data / "packages" / "teacher", data / "candidate")
    guess = np.tile([0.5, 0.3, 0.2], (60, 1))
    predictions.write(data / "baseline.parquet", predictions.from_rows(rows, LABELS, guess, ["channel"]))
    pinned(data, "champion", None)
    named = ("test.parquet", "task.json", "candidate", "packages", "baseline.parquet", "champion", "evaluation.json",
             "scores.json", "predictions", "confusion.csv", "calibration.csv", "golden.json")  # fmt: skip
    return {name.split(".")[0]: data / name for name in named}


def pinned(data: Path, role: str, package: Path | None, *, comparable: bool = True) -> None:
    """Puts a package where stage champion puts it."""
    known = {"champion": {"digest": None, "comparable": False, "reason": "none"}} | {
        "best": {"digest": None, "comparable": False, "reason": "none"}
    }
    if (data / "champion" / "champion.json").exists():
        known = files.read_json(data / "champion" / "champion.json")
    if package:
        shutil.copytree(package, data / "champion" / role)
        known[role] = {"digest": files.digest_folder(package), "comparable": comparable, "reason": "so"}
    files.write_json(data / "champion" / "champion.json", known)


def evaluated(artifacts: dict[str, Path]) -> dict[str, Any]:
    evaluate.run(PARAMS, **artifacts)
    found: dict[str, Any] = json.loads(artifacts["evaluation"].read_text())
    return found


def test_a_teacher_that_is_the_candidate_is_run_once(artifacts: dict[str, Path]):
    found = evaluated(artifacts)
    assert set(found["models"]) == {"candidate", "baseline"}
    assert found["same_as"] == {"teacher": "candidate"}
    assert {path.name for path in artifacts["predictions"].iterdir()} == {"candidate.parquet", "baseline.parquet"}


def test_every_other_model_is_run_and_compared(artifacts: dict[str, Path], package_folder: Make, tmp_path: Path):
    shutil.rmtree(artifacts["packages"] / "teacher")
    package_folder(artifacts["packages"] / "teacher", seed=1)
    pinned(artifacts["champion"].parent, "champion", package_folder(tmp_path / "old", seed=2))
    pinned(artifacts["champion"].parent, "best", package_folder(tmp_path / "best", seed=3))
    found = evaluated(artifacts)
    assert set(found["models"]) == {"candidate", "teacher", "baseline", "champion", "best"}
    assert set(found["paired"]) == {"teacher", "baseline", "champion", "best"}
    assert found["same_as"] == {}


def test_the_evidence_holds_what_the_contract_names(artifacts: dict[str, Path], capsys: pytest.CaptureFixture[str]):
    found = evaluated(artifacts)
    candidate = found["models"]["candidate"]
    assert (found["rows"], found["groups"]) == (60, 30)
    assert found["test_digest"] == files.sha256(artifacts["test"])
    assert candidate["digest"] == files.digest_folder(artifacts["candidate"])
    assert candidate["latency"]["single_ms"]["p95"] > 0
    assert candidate["bytes"] > 0
    assert set(candidate["slices"]["channel"]) == {"film", "book"}
    assert "latency" not in found["models"]["baseline"]
    lead = found["paired"]["baseline"]["accuracy"]
    other = found["models"]["baseline"]["accuracy"]["value"]
    assert lead["value"] == pytest.approx(candidate["accuracy"]["value"] - other)
    assert "candidate = teacher" in capsys.readouterr().out


def test_a_champion_that_cannot_be_compared_is_left_out(
    artifacts: dict[str, Path], package_folder: Make, tmp_path: Path
):
    old = package_folder(tmp_path / "old", labels=("a", "b"))
    pinned(artifacts["champion"].parent, "champion", old, comparable=False)
    assert "champion" not in evaluated(artifacts)["models"]


def test_golden_requests_are_answered_by_the_package_as_written(artifacts: dict[str, Path]):
    evaluated(artifacts)
    golden = json.loads(artifacts["golden"].read_text())
    assert [row["text"] for row in golden] == [TEXTS[n % 3] for n in range(7)]
    answers = Package.load(artifacts["candidate"]).predict([row["text"] for row in golden])
    assert np.allclose(answers, [row["probabilities"] for row in golden], atol=1e-5)
    assert [row["label"] for row in golden] == [LABELS[best] for best in answers.argmax(axis=1)]


def test_the_plots_hold_a_row_a_test_row_and_a_bin(artifacts: dict[str, Path]):
    evaluated(artifacts)
    with artifacts["confusion"].open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 60
    assert set(rows[0]) == {"actual", "predicted"}
    with artifacts["calibration"].open(newline="") as stream:
        bins = list(csv.DictReader(stream))
    assert sum(int(row["rows"]) for row in bins) == 60


def test_a_second_run_gives_the_same_but_for_times(artifacts: dict[str, Path]):
    first, bytes_of = evaluated(artifacts), lambda: (artifacts["predictions"] / "candidate.parquet").read_bytes()
    before = bytes_of()
    second = evaluated(artifacts)
    for found in (first, second):
        del found["models"]["candidate"]["latency"]
    assert first == second
    assert before == bytes_of()


def test_a_baseline_of_other_rows_is_refused(artifacts: dict[str, Path]):
    rows = pl.read_parquet(artifacts["test"])
    rows.reverse().write_parquet(artifacts["test"])
    with pytest.raises(DataError, match="same rows"):
        evaluate.run(PARAMS, **artifacts)
    assert not artifacts["evaluation"].exists()


def test_a_candidate_with_other_labels_is_refused(artifacts: dict[str, Path], package_folder: Make):
    shutil.rmtree(artifacts["candidate"])
    package_folder(artifacts["candidate"], labels=("a", "b"))
    with pytest.raises(PackageError, match="labels"):
        evaluate.run(PARAMS, **artifacts)


def test_a_missing_candidate_is_refused(artifacts: dict[str, Path]):
    shutil.rmtree(artifacts["candidate"])
    with pytest.raises(PackageError):
        evaluate.run(PARAMS, **artifacts)


def test_packages_without_a_teacher_are_fine(artifacts: dict[str, Path]):
    (artifacts["packages"] / "teacher").rename(artifacts["packages"] / "student")
    assert evaluated(artifacts)["same_as"] == {}


def test_an_empty_test_set_is_refused(artifacts: dict[str, Path]):
    pl.read_parquet(artifacts["test"]).clear().write_parquet(artifacts["test"])
    with pytest.raises(DataError, match="no rows"):
        evaluate.run(PARAMS, **artifacts)


def test_the_shipped_params_fit():
    shipped = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))["evaluate"]
    assert params.bind(evaluate.Params, shipped, section="evaluate").golden


def test_the_scores_for_dvc_metrics_are_those_of_the_evaluation(artifacts: dict[str, Path]):
    models = evaluated(artifacts)["models"]
    scores = json.loads(artifacts["scores"].read_text())
    assert set(scores) == set(models)
    accuracy = models["baseline"]["accuracy"]
    assert [scores["baseline"][f"accuracy{end}"] for end in ("", "_low", "_high")] == [
        accuracy[key] for key in ("value", "low", "high")
    ]
