"""Stage baseline: what the transformer has to beat."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from tidegate import params
from tidegate.errors import DataError, ParamsError
from tidegate.evidence import predictions
from tidegate.stages import baseline

LABELS = ["bad", "good"]
PARAMS = baseline.Params(
    features=["words"], word_ngrams=[1, 1], character_ngrams=[2, 3], minimum_texts=1, maximum_features=1000,
    models=["svm", "logistic"], cs=[0.1, 1.0], class_weights=["none"], choose_by="accuracy", replicates=200, seed=1,
)  # fmt: skip


def rows(n: int, seed: int) -> pl.DataFrame:
    chance = np.random.default_rng(seed)
    labels = chance.choice(LABELS, n)
    return pl.DataFrame(
        {
            "id": [f"{seed}-{i}" for i in range(n)],
            "text": [f"a {label} {chance.choice(['film', 'book'])}" for label in labels],
            "label": labels.tolist(),
            "group": [f"{seed}-g{i // 2}" for i in range(n)],
            "channel": chance.choice(["x", "y"], n).tolist(),
        }
    )


@pytest.fixture
def artifacts(tmp_path: Path) -> dict[str, Path]:
    for seed, (name, n) in enumerate({"train": 60, "validation": 30, "test": 40}.items()):
        rows(n, seed).write_parquet(tmp_path / f"{name}.parquet")
    (tmp_path / "task.json").write_text(json.dumps({"task": "t", "labels": LABELS, "slices": ["channel"]}))
    names = ("train.parquet", "validation.parquet", "test.parquet", "task.json", "baseline.parquet")
    paths = {name.split(".")[0]: tmp_path / name for name in names}
    return paths | {"baseline_metrics": tmp_path / "baseline_metrics.json"}


def metrics_of(artifacts: dict[str, Path]) -> dict[str, Any]:
    return json.loads(artifacts["baseline_metrics"].read_text())


def test_it_predicts_the_test_rows_in_their_order(artifacts: dict[str, Path]):
    baseline.run(PARAMS, **artifacts)
    found = predictions.read(artifacts["baseline"], LABELS)
    test = pl.read_parquet(artifacts["test"])
    assert found.ids.tolist() == test["id"].to_list()
    assert (found.predicted == found.actual).all()
    assert found.slices["channel"].tolist() == test["channel"].to_list()


def test_the_whole_grid_is_tried_on_validation_and_reported(artifacts: dict[str, Path]):
    baseline.run(PARAMS, **artifacts)
    report = metrics_of(artifacts)
    assert [(row["model"], row["c"]) for row in report["grid"]] == [
        ("svm", 0.1), ("svm", 1.0), ("logistic", 0.1), ("logistic", 1.0)
    ]  # fmt: skip
    assert report["rows"] == {"train": 60, "validation": 30, "test": 40}
    assert report["validation"]["rows"] == 30
    assert report["model"]["temperature"] > 0


def test_test_labels_change_no_prediction(artifacts: dict[str, Path]):
    baseline.run(PARAMS, **artifacts)
    before, report = predictions.read(artifacts["baseline"], LABELS), metrics_of(artifacts)
    test = pl.read_parquet(artifacts["test"])
    test.with_columns(label=pl.lit("good")).write_parquet(artifacts["test"])
    baseline.run(PARAMS, **artifacts)
    assert (predictions.read(artifacts["baseline"], LABELS).probabilities == before.probabilities).all()
    assert metrics_of(artifacts) == report


def test_a_second_run_gives_the_same_bytes(artifacts: dict[str, Path]):
    outputs = [artifacts["baseline"], artifacts["baseline_metrics"]]
    baseline.run(PARAMS, **artifacts)
    before = [path.read_bytes() for path in outputs]
    baseline.run(PARAMS, **artifacts)
    assert [path.read_bytes() for path in outputs] == before


def test_training_rows_of_one_label_are_refused(artifacts: dict[str, Path]):
    rows(10, 0).with_columns(label=pl.lit("bad")).write_parquet(artifacts["train"])
    with pytest.raises(DataError, match="two are needed"):
        baseline.run(PARAMS, **artifacts)


def test_texts_that_leave_no_feature_are_refused_and_nothing_is_written(artifacts: dict[str, Path]):
    with pytest.raises(DataError, match="minimum_texts"):
        baseline.run(dataclasses.replace(PARAMS, minimum_texts=1000), **artifacts)
    assert not artifacts["baseline"].exists()


def test_the_shipped_params_fit():
    shipped = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))["baseline"]
    assert params.bind(baseline.Params, shipped, section="baseline").models
    with pytest.raises(ParamsError, match="longer than"):
        params.bind(baseline.Params, shipped | {"word_ngrams": [3, 1]}, section="baseline")
