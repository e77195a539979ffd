"""Stage compare: every candidate on the validation rows, and nobody else's rows or labels."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tidegate.errors import DataError, PackageError
from tidegate.evidence import predictions
from tidegate.package import Package
from tidegate.stages import compare

Make = Callable[..., Path]
LABELS = ("negative", "neutral", "positive")
PARAMS = compare.Params(
    replicates=200, seed=3, slice_minimum_rows=5, batch_size=4, latency_texts=6, latency_repeats=1, robustness_rows=20
)


@pytest.fixture
def artifacts(tmp_path: Path) -> dict[str, Path]:
    """Sixty rows in thirty groups: good ones, bad ones, and as many of neither kind."""
    texts = ["a good film indeed", "the BAD book, sadly.", "the film  is the book"]
    rows = pl.DataFrame(
        {
            "id": [f"r{n}" for n in range(60)],
            "text": [texts[n % 3] for n in range(60)],
            "label": [("positive", "negative", "neutral")[n % 3] for n in range(60)],
            "group": [f"g{n // 2}" for n in range(60)],
            "channel": [("film", "book")[n % 2] for n in range(60)],
        }
    )
    rows.write_parquet(tmp_path / "validation.parquet")
    (tmp_path / "task.json").write_text(json.dumps({"task": "channels", "labels": LABELS, "slices": ["channel"]}))
    return {
        "packages": tmp_path / "packages",
        "validation": tmp_path / "validation.parquet",
        "task": tmp_path / "task.json",
        "comparison": tmp_path / "out" / "comparison.json",
        "validation_predictions": tmp_path / "out" / "validation_predictions",
    }


def compared(artifacts: dict[str, Path], params: compare.Params = PARAMS) -> dict[str, Any]:
    compare.run(params, **artifacts)
    found: dict[str, Any] = json.loads(artifacts["comparison"].read_text())
    return found


def test_every_candidate_has_quality_slices_robustness_latency_and_size(
    artifacts: dict[str, Path], package_folder: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = package_folder()
    package_folder(name="student", seed=1)
    found = compared(artifacts)
    assert sorted(found) == ["student", "teacher"]
    entry = found["teacher"]
    assert entry["digest"] == Package.load(teacher).digest
    assert entry["package"] == "packages/teacher"
    assert entry["rows"] == 60
    assert entry["groups"] == 30
    assert 0.6 < entry["accuracy"]["value"] <= 1
    assert entry["accuracy"]["low"] <= entry["accuracy"]["value"] <= entry["accuracy"]["high"]
    assert set(entry["slices"]["channel"]) == {"film", "book"}
    assert entry["latency"]["single_ms"]["p50"] > 0
    assert entry["latency"]["texts"] == 6
    assert entry["bytes"] == sum(file.stat().st_size for file in teacher.iterdir())
    assert "teacher: accuracy" in capsys.readouterr().out


def test_robustness_is_the_share_of_labels_that_stay(artifacts: dict[str, Path], package_folder: Make) -> None:
    package_folder()
    found = compared(artifacts)["teacher"]["robustness"]
    assert found["rows"] == 20
    # The tokenizer folds case and the normalization white space, so these change nothing.
    assert found["upper_case"]["value"] == found["white_space"]["value"] == 1
    assert found["typing_errors"]["value"] < 1, "good and bad mistyped are other words"


def test_predictions_of_all_rows_are_kept(artifacts: dict[str, Path], package_folder: Make) -> None:
    package = Package.load(package_folder())
    compared(artifacts)
    kept = predictions.read(artifacts["validation_predictions"] / "teacher.parquet", LABELS)
    texts = pl.read_parquet(artifacts["validation"])["text"].to_list()
    assert kept.probabilities == pytest.approx(package.predict(texts), abs=1e-6)
    assert list(kept.slices) == ["channel"]


def test_all_but_the_measured_times_is_the_same_twice(artifacts: dict[str, Path], package_folder: Make) -> None:
    package_folder()
    runs = [compared(artifacts)["teacher"] for _ in range(2)]
    for entry in runs:
        del entry["latency"]
    assert runs[0] == runs[1]


def test_more_rows_are_asked_for_than_there_are(artifacts: dict[str, Path], package_folder: Make) -> None:
    package_folder()
    found = compared(artifacts, replace(PARAMS, latency_texts=10_000, robustness_rows=10_000))["teacher"]
    assert found["latency"]["texts"] == found["robustness"]["rows"] == 60


@pytest.mark.parametrize(
    ("other", "message"),
    [({"task": "reviews"}, "task 'reviews'"), ({"labels": ("a", "b", "c")}, r"labels \['a', 'b', 'c'\]")],
)
def test_a_candidate_of_another_task_or_label_set_is_refused(
    artifacts: dict[str, Path], package_folder: Make, other: dict[str, Any], message: str
) -> None:
    package_folder()
    package_folder(name="odd", **other)
    with pytest.raises(PackageError, match=message):
        compare.run(PARAMS, **artifacts)
    assert not artifacts["comparison"].exists()


def test_no_candidate_is_an_error(artifacts: dict[str, Path]) -> None:
    artifacts["packages"].mkdir()
    with pytest.raises(PackageError, match="holds no package"):
        compare.run(PARAMS, **artifacts)


def test_no_rows_are_an_error(artifacts: dict[str, Path], package_folder: Make) -> None:
    package_folder()
    pl.read_parquet(artifacts["validation"]).clear().write_parquet(artifacts["validation"])
    with pytest.raises(DataError, match="holds no rows"):
        compare.run(PARAMS, **artifacts)
