"""Stage baseline: TF-IDF and a linear model, the best of a small grid on validation; what the transformer has to beat.

Test labels are carried along for the stages that judge, and read for nothing here.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tidegate import files
from tidegate.errors import DataError
from tidegate.params import Range

if TYPE_CHECKING:
    import polars as pl

    from tidegate.evidence.linear import Choice, Fitted, Labelled

Ngrams = Annotated[list[Annotated[int, Range(ge=1, le=10)]], Range(ge=2, le=2)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The grid: every combination of features, models, cs and class_weights is tried."""

    features: Annotated[list[Literal["words", "characters", "both"]], Range(ge=1)]
    """TF-IDF of runs of words, of runs of characters, or both side by side."""
    word_ngrams: Ngrams
    """Shortest and longest run of words."""
    character_ngrams: Ngrams
    """Shortest and longest run of characters within a word."""
    minimum_texts: Annotated[int, Range(ge=1)]
    """Training texts that a feature has to occur in."""
    maximum_features: Annotated[int, Range(ge=1)]
    """Features of either kind; the most frequent are kept."""
    models: Annotated[list[Literal["svm", "logistic"]], Range(ge=1)]
    """Linear support vector machine, or logistic regression."""
    cs: Annotated[list[Annotated[float, Range(gt=0)]], Range(ge=1)]
    """Inverse strength of the regularization."""
    class_weights: Annotated[list[Literal["none", "balanced"]], Range(ge=1)]
    """Rows weigh alike, or in inverse proportion to how frequent their label is."""
    choose_by: Literal["accuracy", "macro_f1"]
    """The figure on validation that decides."""
    replicates: Annotated[int, Range(ge=200, le=100_000)]
    """How often the groups are drawn anew for an interval on validation."""
    seed: Annotated[int, Range(ge=0, lt=2**31)]
    """Of the models and of those draws."""

    def problems(self) -> Iterable[str]:
        """What spans several keys."""
        for name in ("word_ngrams", "character_ngrams"):
            shortest, longest = getattr(self, name)
            if shortest > longest:
                yield f"{name}: the shortest run, {shortest}, is longer than the longest, {longest}"


def run(
    params: Params, *, train: Path, validation: Path, test: Path, task: Path, baseline: Path, baseline_metrics: Path
) -> None:
    """Fits the grid, chooses on validation and predicts the test rows."""
    import polars as pl

    from tidegate.evidence import predictions, scoring

    described = files.read_json(task)
    labels, slices = described["labels"], described["slices"]
    frames = {path.stem: pl.read_parquet(path) for path in (train, validation, test)}
    rows = {path.stem: _labelled(frames[path.stem], labels, path) for path in (train, validation)}
    started = time.perf_counter()
    best, tried = _chosen(params, rows["train"], rows["validation"], len(labels))
    kept = predictions.from_rows(frames["validation"], labels, best.probabilities(rows["validation"].texts), slices)
    on_test = best.probabilities(frames["test"]["text"].to_list())
    predictions.write(baseline, predictions.from_rows(frames["test"], labels, on_test, slices))
    metrics = scoring.metrics(kept, replicates=params.replicates, seed=params.seed)
    files.write_json(baseline_metrics, _report(best, tried, metrics, {name: len(f) for name, f in frames.items()}))
    print(f"baseline: {len(tried)} models tried in {time.perf_counter() - started:.0f} s")
    print(f"baseline: kept {best.choice.model} on {best.choice.features}, C {best.choice.c:g}; {_figures(metrics)}")


def _labelled(frame: "pl.DataFrame", labels: list[str], path: Path) -> "Labelled":
    import numpy as np

    from tidegate.evidence.linear import Labelled

    place = {label: i for i, label in enumerate(labels)}
    found = frame["label"].to_list()
    if len(set(found)) < 2:
        cause = f"holds {len(set(found))} labels in {len(frame):,} rows; two are needed to learn or to choose"
        raise DataError(str(path), cause, "Take more rows, or change split's shares")
    return Labelled(texts=frame["text"].to_list(), labels=np.array([place[label] for label in found]))


def _chosen(
    params: Params, train: "Labelled", validation: "Labelled", labels: int
) -> "tuple[Fitted, list[dict[str, Any]]]":
    from tidegate.evidence import linear, scoring

    vocabulary = linear.Vocabulary(
        word_ngrams=(params.word_ngrams[0], params.word_ngrams[1]),
        character_ngrams=(params.character_ngrams[0], params.character_ngrams[1]),
        minimum_texts=params.minimum_texts, maximum=params.maximum_features,
    )  # fmt: skip
    return linear.choose(
        train, validation, vocabulary=vocabulary, grid=_grid(params), labels=labels, seed=params.seed,
        score=scoring.plain, by=params.choose_by,
    )  # fmt: skip


def _grid(params: Params) -> "list[Choice]":
    from tidegate.evidence.linear import Choice

    points = product(params.features, params.models, params.cs, params.class_weights)
    return [Choice(features=f, model=m, c=c, class_weight=w) for f, m, c, w in points]


def _report(
    best: "Fitted", tried: list[dict[str, Any]], metrics: dict[str, Any], rows: dict[str, int]
) -> dict[str, Any]:
    return {
        "features": best.choice.features,
        "model": {
            "kind": best.choice.model, "c": best.choice.c, "class_weight": best.choice.class_weight,
            "temperature": best.temperature, "features": sum(len(v.vocabulary_) for v in best.vectorizers),
        },
        "grid": tried,
        "validation": metrics,
        "rows": rows,
    }  # fmt: skip


def _figures(metrics: dict[str, Any]) -> str:
    from tidegate.report import interval

    figures = f"accuracy {interval(metrics['accuracy'])}, macro-F1 {interval(metrics['macro_f1'])}"
    return f"{figures} on {metrics['rows']:,} validation rows"
