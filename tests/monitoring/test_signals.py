"""Each signal moves with what it is about, and not without; statistics agree with those of scipy and scikit-learn."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from monitoring import gauge, signals
from monitoring.gauge import Gauge
from monitoring.lens import Ranked
from monitoring.reference import Reference
from tidegate.monitor_settings import Settings

Rows = Callable[..., pl.DataFrame]
FILMS = {"film", "plot", "actor", "scene", "screen", "camera", "director", "cinema", "story", "music"}


def found(ready: Gauge, rows: pl.DataFrame) -> set[str]:
    return {name for name, signal in ready.compare(rows).items() if signal["finding"]}


def test_the_kolmogorov_smirnov_distance_is_that_of_scipy_ties_included() -> None:
    chance = np.random.default_rng(0)
    values = chance.integers(0, 12, 300).astype(float)
    window = chance.random(300) < 0.3
    expected = stats.ks_2samp(values[window], values[~window]).statistic
    assert signals.kolmogorov_smirnov(Ranked.of(values), window) == pytest.approx(expected)


def test_the_chi_square_statistic_is_that_of_scipy_and_a_label_nobody_predicts_is_left_out() -> None:
    here, there = np.array([30.0, 5, 0, 65]), np.array([250.0, 90, 0, 660])
    expected = stats.chi2_contingency(np.array([here, there])[:, here > 0], correction=False).statistic
    assert signals.chi_square(here, there) == pytest.approx(expected)


def test_the_area_under_the_curve_is_that_of_scikit_learn() -> None:
    chance = np.random.default_rng(1)
    scores, window = chance.integers(0, 9, 200).astype(float), chance.random(200) < 0.4
    assert signals.area_under_curve(scores, window) == pytest.approx(roc_auc_score(window, scores))


def test_a_window_like_the_reference_has_no_effect(ready: Gauge, make_rows: Rows) -> None:
    shown = ready.compare(make_rows(200, seed=77))
    assert list(shown) == list(signals.SIGNALS)
    assert max(signal["effect"] for signal in shown.values()) < 0.1


def test_what_the_subjects_explain_is_no_surprise_and_their_answers_turned_round_are(
    make_rows: Rows, settings: Settings
) -> None:
    """Films are liked and books are not: more films is another mix of answers, and no surprise."""
    sure = {"films": [0.1, 0.1, 0.8], "books": [0.8, 0.1, 0.1]}

    def answered(rows: pl.DataFrame, likes: str) -> pl.DataFrame:
        hits = [bool(FILMS & set(text.split())) for text in rows["text"]]
        chosen = ["films" if hit == (likes == "films") else "books" for hit in hits]
        labels = ["positive" if one == "films" else "negative" for one in chosen]
        return rows.with_columns(label=pl.Series(labels), probabilities=pl.Series([sure[one] for one in chosen]))

    known = Reference("m", ("negative", "neutral", "positive"), answered(make_rows(3000, seed=1), "films"))
    ready = gauge.ready(known, settings, keep=False)
    more_films = ready.compare(answered(make_rows(200, seed=9, subjects=["films", "films", "books"]), "films"))
    turned = ready.compare(answered(make_rows(200, seed=9), "books"))
    assert (more_films["prediction"]["finding"], more_films["surprise"]["finding"]) == (True, False)
    assert (turned["prediction"]["finding"], turned["surprise"]["finding"]) == (False, True)


def upper(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col("text").str.to_uppercase())


def unsure(rows: pl.DataFrame) -> pl.DataFrame:
    flat = [[0.3, 0.3, 0.4]] * len(rows)
    return rows.with_columns(probabilities=pl.Series(flat))


CHANGES: list[tuple[str, str, Callable[[Rows], pl.DataFrame]]] = [
    ("text", "other words", lambda make: upper(make(200, seed=9))),
    ("embedding", "other subjects", lambda make: make(200, seed=9, subjects=["films"])),
    ("length", "longer", lambda make: make(200, seed=9).with_columns(pl.col("tokens") + 6)),
    ("fertility", "more tokens a word", lambda make: make(200, seed=9).with_columns(pl.col("tokens") + 6)),
    ("unknown", "more unknown", lambda make: make(200, seed=9).with_columns(unknown=pl.lit(1))),
    ("prediction", "more neutral", lambda make: make(200, seed=9, shares=(0.2, 0.6, 0.2))),
    ("confidence", "less confident", lambda make: unsure(make(200, seed=9))),
    ("surprise", "other answers", lambda make: make(200, seed=9, shares=(0.2, 0.6, 0.2))),
]


@pytest.mark.parametrize(("name", "direction", "change"), CHANGES, ids=[name for name, *_ in CHANGES])
def test_a_signal_finds_what_it_is_about_and_says_which_way(
    ready: Gauge, make_rows: Rows, name: str, direction: str, change: Any
) -> None:
    shown = ready.compare(change(make_rows))[name]
    assert shown["finding"]
    assert shown["value"] > shown["threshold"]
    assert shown["direction"].startswith(direction)
    assert shown["effect"] > 0.1


def test_one_unknown_token_is_no_finding_though_the_reference_has_none(ready: Gauge, make_rows: Rows) -> None:
    rows = make_rows(200, seed=9)

    def with_unknown(count: int) -> pl.DataFrame:
        return rows.with_columns(unknown=pl.Series([1] * count + [0] * (200 - count)))

    assert "unknown" not in found(ready, with_unknown(1))
    assert "unknown" in found(ready, with_unknown(8))


def test_a_new_subject_is_found_by_its_words_alone(ready: Gauge, make_rows: Rows) -> None:
    rows = make_rows(200, seed=9)
    assert "text" in found(ready, rows.with_columns(text=make_rows(200, seed=9, subjects=["wares"])["text"]))
