"""How often windows that did not drift have a finding, and how surely those that did, next to Evidently's defaults.

Rows: validation and test of the default data, which the package was not trained on. They are divided by document again
and again: one part is the reference, windows of 500 rows are drawn from the other. Needs `make repro` first.
Usage: python benchmarks/drift.py [DATA_FOLDER [FOLDER_FOR_PREDICTIONS]] [--quick]
"""

import json
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402

from monitoring import gauge, policy, reference, shifts  # noqa: E402
from monitoring.calibration import drawn as drawn_rows  # noqa: E402
from monitoring.lens import groups_of  # noqa: E402
from tidegate import monitor_settings  # noqa: E402

ROWS = 500  # a window
SHARE = 0.64  # of the rows that are the reference, as test is of validation and test
QUICK = "--quick" in sys.argv
SPLITS, WINDOWS = (2, 20) if QUICK else (40, 50)  # divisions, and undrifted windows of each
DRIFTED_SPLITS, DRIFTED = (1, 10) if QUICK else (5, 40)  # divisions, and drifted windows of each and of each strength
THEIRS, THEIR_NULLS = (1, 2) if QUICK else (5, 50)  # windows that Evidently looks at: of each strength, undrifted
COST = 0.05  # accuracy; what costs the model more has to be found
NEW = "editorials"
KINDS: list[tuple[str, str, tuple[float, ...]]] = [
    ("class mix", "share of neutral texts (0.20 before)", (0.30, 0.45, 0.60)),
    ("a channel goes", "share of films (0.44 before)", (0.30, 0.15, 0.0)),
    ("typing errors", "share of words", (0.05, 0.15, 0.30)),
    ("truncation", "share of words kept", (0.75, 0.50, 0.25)),
    ("another language", "share of texts, word for word in Spanish", (0.10, 0.30, 0.60)),
    ("upper case", "share of texts", (0.10, 0.30, 1.0)),
    ("a new channel", "share of editorials (none before)", (0.10, 0.30, 0.60)),  # last: it has a reference of its own
]
SETTINGS = replace(monitor_settings.read(ROOT), window=monitor_settings.Window(rows=ROWS, hours=None))


def predicted(data: Path) -> dict[str, pl.DataFrame]:
    """By change the pool of rows as the log would have them: `none`, and those of `shifts.PERTURBED`."""
    from tidegate.package import Package

    package = Package.load(data / "candidate")
    rows = pl.concat([pl.read_parquet(data / f"{name}.parquet") for name in ("validation", "test")])
    found = {"none": _as_logged(package, rows, rows["text"].to_list())}
    for (kind, strength), change in shifts.PERTURBED.items():
        chance = np.random.default_rng(17)
        found[f"{kind} {strength}"] = _as_logged(package, rows, [change(text, chance) for text in rows["text"]])
    return found


def _as_logged(package: Any, rows: pl.DataFrame, texts: list[str]) -> pl.DataFrame:
    probabilities = package.predict(texts)
    tokens, unknown = reference.counts(package, texts)
    labels = np.array(package.labels)[probabilities.argmax(axis=1)]
    return pl.DataFrame(
        {
            "id": rows["id"], "text": texts, "label": labels.tolist(), "probabilities": probabilities.tolist(),
            "tokens": tokens, "unknown": unknown, "document": rows["group"], "actual": rows["label"],
            "channel": rows["channel"],
        }
    )  # fmt: skip


@cache
def pools(folder: str) -> dict[str, pl.DataFrame]:
    """What `predicted` kept, in a worker."""
    return {path.stem: pl.read_parquet(path) for path in Path(folder).glob("*.parquet")}


def divided(pool: pl.DataFrame, split: int) -> np.ndarray:
    """Which rows of the pool are the reference, by whole documents."""
    return drawn_rows(groups_of(pool), round(SHARE * len(pool)), np.random.default_rng([1, split]))


def gauge_of(rows: pl.DataFrame) -> gauge.Gauge:
    """The reference, ready; its thresholds are computed here and kept nowhere."""
    labels = tuple(sorted(rows["actual"].unique()))
    return gauge.ready(reference.Reference("benchmark", labels, rows.select(reference.COLUMNS)), SETTINGS, keep=False)


def measured(folder: str, split: int) -> dict[str, Any]:
    """What one division shows: `undrifted`, and in the first ones `drifted`, by kind and strength."""
    pool = pools(folder)["none"]
    inside = divided(pool, split)
    known, rest = pool.filter(inside), pool.filter(~inside)
    ready = gauge_of(known)
    drawn = [_window(rest, None, np.random.default_rng([2, split, n])) for n in range(WINDOWS)]
    theirs = THEIR_NULLS // DRIFTED_SPLITS if split < DRIFTED_SPLITS else 0
    found: dict[str, Any] = {"undrifted": _looked_at(ready, known, drawn, theirs), "drifted": {}}
    for kind, _, strengths in KINDS if split < DRIFTED_SPLITS else ():
        if kind == "a new channel":
            known = known.filter(pl.col("channel") != NEW)
            ready = gauge_of(known)
        for strength in strengths:
            drawn = [_shifted(folder, split, kind, strength, n, rest) for n in range(DRIFTED)]
            found["drifted"][kind, strength] = _looked_at(ready, known, drawn, THEIRS // DRIFTED_SPLITS)
        if kind == "a new channel":
            before = [_shifted(folder, split, kind, 0.0, n, rest) for n in range(DRIFTED)]
            found["without"] = [accuracy_of(one) for one in before]
    return found


def _shifted(folder: str, split: int, kind: str, strength: float, n: int, rest: pl.DataFrame) -> pl.DataFrame:
    chance = np.random.default_rng([3, split, int(100 * strength), n])
    if kind == "class mix":
        return _window(rest, shifts.kept_by(rest["actual"].to_list(), {"neutral": strength}), chance)
    if kind in ("a channel goes", "a new channel"):
        name = "films" if kind == "a channel goes" else NEW
        return _window(rest, shifts.kept_by(rest["channel"].to_list(), {name: strength}), chance)
    plain = _window(rest, None, chance)
    whole = kind in ("typing errors", "truncation")
    changed = pools(folder)[f"{kind} {strength if whole else 1.0}"]
    same = plain.select("id").join(changed, on="id", how="left", maintain_order="left").select(plain.columns)
    return same if whole else shifts.partly(plain, same, groups_of(plain), strength, chance)


def _window(rows: pl.DataFrame, kept: np.ndarray | None, chance: np.random.Generator) -> pl.DataFrame:
    return rows[shifts.window_of(groups_of(rows), ROWS, chance, kept)]


def _looked_at(ready: gauge.Gauge, known: pl.DataFrame, windows: list[pl.DataFrame], theirs: int) -> dict[str, Any]:
    return {
        "verdicts": [{"signals": ready.compare(one)} for one in windows],
        "accuracy": [accuracy_of(one) for one in windows],
        "evidently": [evidently(known, one) for one in windows[:theirs]],
    }


def accuracy_of(rows: pl.DataFrame) -> float:
    """Share of rows that the package has right."""
    return float((rows["label"] == rows["actual"]).mean())  # type: ignore[arg-type]


def evidently(known: pl.DataFrame, window: pl.DataFrame) -> dict[str, bool]:
    """What Evidently's preset for drift says by its defaults: of any column, and of the data set."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    numbers = ["tokens", "confidence"]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=["label"], text_columns=["text"])
    both = [
        Dataset.from_pandas(
            pd.DataFrame(
                {
                    "tokens": rows["tokens"].to_numpy().astype(float),
                    "confidence": rows["probabilities"].list.max().to_numpy(),
                    "label": rows["label"].to_list(),
                    "text": rows["text"].to_list(),
                }
            ),
            data_definition=definition,
        )
        for rows in (window, known)
    ]
    metrics = Report([DataDriftPreset()]).run(*both).dict()["metrics"]
    count = next(one["value"] for one in metrics if one["metric_name"].startswith("DriftedColumnsCount"))
    return {"any": count["count"] > 0, "dataset": count["share"] >= 0.5}


def interval(shares: list[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval of the shares of divisions; windows of one division share its rows."""
    from scipy import stats

    mean = float(np.mean(shares))
    error = float(np.std(shares, ddof=1) / np.sqrt(len(shares))) if len(shares) > 1 else 0.0
    width = float(stats.t.ppf(0.975, max(len(shares) - 1, 1))) * error
    return mean, max(0.0, mean - width), min(1.0, mean + width)


def wilson(count: int, trials: int) -> tuple[float, float, float]:
    """A share and its 95 % interval (E. Wilson, JASA 22, 1927)."""
    z, share = 1.959964, count / trials
    middle, spread = share + z**2 / (2 * trials), z * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return share, float((middle - spread) / (1 + z**2 / trials)), float((middle + spread) / (1 + z**2 / trials))


def has_finding(verdict: dict[str, Any]) -> bool:
    """Whether any signal of a window is over its threshold."""
    return any(signal["finding"] for signal in verdict["signals"].values())


def alarms(verdicts: list[dict[str, Any]]) -> float:
    """Share of windows that raise an alarm, taken one after the other."""
    return float(np.mean([policy.alarm(verdicts[: n + 1], SETTINGS.alarm) is not None for n in range(len(verdicts))]))


def delay(verdicts: list[dict[str, Any]], before: list[dict[str, Any]], chance: np.random.Generator) -> float | None:
    """Windows from the beginning of a drift that stays until the alarm, in the mean; None where it may never come."""
    found: list[int] = []
    for _ in range(300):
        history = [before[i] for i in chance.integers(0, len(before), 3)]
        for n in range(1, 41):
            history.append(verdicts[int(chance.integers(len(verdicts)))])
            if policy.alarm(history[-SETTINGS.alarm.of :], SETTINGS.alarm):
                found.append(n)
                break
    return float(np.mean(found)) if len(found) == 300 else None


def summed(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """All figures of the run, from those of the divisions."""
    nulls, drifts = [part["undrifted"] for part in parts], parts[:DRIFTED_SPLITS]
    without = [value for part in drifts for value in part["without"]]
    chance = np.random.default_rng(4)
    rates = [float(np.mean([has_finding(one) for one in null["verdicts"]])) for null in nulls]
    before = [one for null in nulls for one in null["verdicts"]]
    names = before[0]["signals"]
    theirs = [one for null in nulls for one in null["evidently"]]
    accuracy = float(np.mean([value for null in nulls[:DRIFTED_SPLITS] for value in null["accuracy"]]))
    return {
        "nominal": SETTINGS.finding_rate, "rows": ROWS, "replays": SETTINGS.replays,
        "undrifted": {
            "windows": len(before), "divisions": len(nulls), "finding": interval(rates),
            "alarm": interval([alarms(null["verdicts"]) for null in nulls]), "accuracy": accuracy,
            "signals": {name: float(np.mean([one["signals"][name]["finding"] for one in before])) for name in names},
            "evidently": {key: wilson(sum(one[key] for one in theirs), len(theirs)) for key in ("any", "dataset")},
            "evidently_windows": len(theirs),
        },
        "drifted": [
            {"kind": kind, "strength": strength, "unit": words}
            | _condition(
                [part["drifted"][kind, strength] for part in drifts], before,
                float(np.mean(without)) if kind == "a new channel" else accuracy, chance,
            )
            for kind, words, strengths in KINDS for strength in strengths
        ],
    }  # fmt: skip


def _condition(
    parts: list[dict[str, Any]], before: list[dict[str, Any]], accuracy: float, chance: np.random.Generator
) -> dict[str, Any]:
    verdicts = [one for part in parts for one in part["verdicts"]]
    theirs = [one for part in parts for one in part["evidently"]]
    lost = accuracy - float(np.mean([value for part in parts for value in part["accuracy"]]))
    signals = {name: float(np.mean([v["signals"][name]["finding"] for v in verdicts])) for name in before[0]["signals"]}
    return {
        "accuracy_lost": lost, "windows": len(verdicts),
        "found": wilson(sum(map(has_finding, verdicts)), len(verdicts)), "delay": delay(verdicts, before, chance),
        "signals": signals, "evidently_windows": len(theirs),
        "evidently": {key: wilson(sum(one[key] for one in theirs), len(theirs)) for key in ("any", "dataset")},
    }  # fmt: skip


def tables(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    null = result["undrifted"]
    lines = [
        f"| {null['windows']:,} windows that did not drift | share (95 % interval) |", "| --- | --- |",
        f"| a finding, nominal {_percent(result['nominal'])} | {_share(null['finding'])} |",
        f"| an alarm ({SETTINGS.alarm.findings} of {SETTINGS.alarm.of}) | {_share(null['alarm'])} |",
        f"| Evidently: any column drifted (n = {null['evidently_windows']}) | {_share(null['evidently']['any'])} |",
        f"| Evidently: half the columns (n = {null['evidently_windows']}) | {_share(null['evidently']['dataset'])} |",
        "",
        "| shift | strength | accuracy lost, points | found in one window (95 % interval) | windows until the alarm |"
        " most telling | Evidently: any column | Evidently: data set |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for one in result["drifted"]:
        costly = one["accuracy_lost"] >= COST
        lost, name = f"{100 * one['accuracy_lost']:.1f}", max(one["signals"], key=one["signals"].__getitem__)
        lines.append(
            f"| {one['kind']} | {one['unit']}: {one['strength']:.2f} | {f'**{lost}**' if costly else lost} "
            f"| {_share(one['found'])} | {'over 40' if one['delay'] is None else format(one['delay'], '.1f')} "
            f"| {name} | {_share(one['evidently']['any'])} | {_share(one['evidently']['dataset'])} |"
        )
    return "\n".join(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _share(value: tuple[float, float, float]) -> str:
    return f"{_percent(value[0])} ({100 * value[1]:.1f} to {100 * value[2]:.1f})"


def main(data: Path, kept: Path | None) -> None:
    """Measures; writes `results/drift.json` and the tables of `docs/monitoring.md`.

    Args:
        kept: a folder that keeps the predictions from one run to the next.
    """
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as own:
        folder = kept or Path(own)
        if not (folder / "none.parquet").exists():
            folder.mkdir(exist_ok=True)
            for name, rows in reversed(predicted(data).items()):
                rows.write_parquet(folder / f"{name}.parquet")
        print(f"drift: predicted after {time.perf_counter() - start:.0f} s", flush=True)
        fresh = multiprocessing.get_context("spawn")  # a fork would inherit the locks of threads
        with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=fresh) as workers:
            parts = list(workers.map(partial(measured, str(folder)), range(SPLITS)))
    result = summed(parts)
    result["seconds"] = round(time.perf_counter() - start)
    print(tables(result), f"\ndrift: {result['seconds']} s")
    missed = [one for one in result["drifted"] if one["accuracy_lost"] >= COST and one["found"][0] < 0.95]
    print(f"drift: {len(missed)} shifts that cost {COST:.0%} or more are found in less than 95 % of windows")
    if not QUICK:
        keep(result)


def keep(result: dict[str, Any]) -> None:
    """Writes what was measured, and the tables where people read them."""
    target = ROOT / "benchmarks" / "results" / "drift.json"
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    page, marks = ROOT / "docs" / "monitoring.md", ("<!-- drift: begin -->", "<!-- drift: end -->")
    text = page.read_text(encoding="utf-8")
    before, after = text.split(marks[0])[0], text.split(marks[1])[1]
    page.write_text(f"{before}{marks[0]}\n{tables(result)}\n{marks[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    folders = [Path(word) for word in sys.argv[1:] if not word.startswith("-")]
    main(*(folders + [ROOT / "data", None][len(folders) :]))  # type: ignore[arg-type]
