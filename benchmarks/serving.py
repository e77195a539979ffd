"""The service against `mlflow models serve` of the same package on this machine in one run, and a soak.

Capacity is the highest rate of requests, at random times, at which 99 of 100 answers come within 50 ms and none fails:
single texts, and 32 a request. The service writes its log as always; MLflow keeps none. The share of the runtime is
what reaches the client of the texts a second that the package alone computes in this process. Needs `make repro` first.

Usage: python benchmarks/serving.py [--data FOLDER] [--seconds A_RUN] [--soak SECONDS [--reload SECONDS]]
"""

import argparse
import json
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from load.services import ROOT, crown, make_world, ours, theirs

HERE = Path(__file__).parent
BOUND_MS = 50
STEPS = 6
CLIENTS = 16
SOAK_LOAD = 0.7
COUNTS = (1, 32)


def load(port: int, texts: Path, **options: Any) -> dict[str, Any]:
    """One run of the load generator."""
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    command = [sys.executable, str(HERE / "load" / "generator.py"), str(port), str(texts), *words]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def capacity(port: int, texts: Path, count: int, path: str, seconds: float) -> dict[str, Any]:
    """The best run within the bound, looked for by halving below what the service does at most."""
    at_most = load(port, texts, path=path, count=count, clients=CLIENTS, seconds=seconds)
    low, high, best = 0.0, at_most["requests_per_second"], None
    for _ in range(STEPS):
        rate = (low + high) / 2
        run = load(port, texts, path=path, count=count, rate=rate, seconds=seconds)
        if run["p99_ms"] <= BOUND_MS and not run["failed"]:
            low, best = rate, run
        else:
            high = rate
    return {"at_most": at_most, "within_bound": best}


def runtime_texts_per_second(package: Path, texts: list[str], seconds: float) -> float:
    """What the package alone computes in this process, in calls of 256 texts."""
    from tidegate.package import Package

    loaded, done, at = Package.load(package), 0, 0
    loaded.predict(texts[:64])
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        done += len(loaded.predict(texts[at : at + 256]))
        at = (at + 256) % (len(texts) - 256)
    return done / (time.perf_counter() - started)


def compare(world: Path, package: Path, texts: list[str], file: Path, seconds: float) -> dict[str, Any]:
    """Both services at both sizes, one after the other, and the runtime before and after."""
    runtime = [runtime_texts_per_second(package, texts, seconds)]
    found: dict[str, Any] = {"ours": {}, "mlflow": {}}
    for count in COUNTS:
        with ours(world) as (port, _):
            found["ours"][count] = capacity(port, file, count, "/predict", seconds)
        with theirs(world / str(count), package) as port:
            found["mlflow"][count] = capacity(port, file, count, "/invocations", seconds)
    runtime.append(runtime_texts_per_second(package, texts, seconds))
    found["runtime_texts_per_second"] = sum(runtime) / len(runtime)
    return found


def show(found: dict[str, Any]) -> None:
    """The table."""
    print(f"{'':<10}{'texts a request':>16}{'texts/s':>9}{'p50 ms':>8}{'p99 ms':>8}   at most: texts/s, p99 ms")
    for name in ("ours", "mlflow"):
        for count in COUNTS:
            best, most = found[name][count]["within_bound"], found[name][count]["at_most"]
            told = (
                f"{best['texts_per_second']:9.0f}{best['p50_ms']:8.1f}{best['p99_ms']:8.1f}"
                if best
                else f"{'none':>25}"
            )
            print(f"{name:<10}{count:>16}{told}   {most['texts_per_second']:.0f}, {most['p99_ms']:.0f}")
    for count in COUNTS:
        mine, other = (found[name][count]["within_bound"] for name in ("ours", "mlflow"))
        if mine and other:
            print(f"{count:>3} a request: {mine['texts_per_second'] / other['texts_per_second']:.1f} times MLflow")
    share = found["ours"][32]["at_most"]["texts_per_second"] / found["runtime_texts_per_second"]
    print(f"{share:.0%} of the {found['runtime_texts_per_second']:.0f} texts/s of the runtime reach the client")


def soak(world: Path, digests: list[str], task: str, file: Path, seconds: float, every: float) -> dict[str, Any]:
    """A load of 70 % with a new champion every so many seconds, then a kill in its middle: log against answers."""
    kept = world / "answers.jsonl"
    with ours(world) as (port, process):
        at_most = load(port, file, count=1, clients=CLIENTS, seconds=min(10, seconds))["requests_per_second"]
        before = _rows(world, task).keys()
        words = [sys.executable, str(HERE / "load" / "generator.py"), str(port), str(file), "--rate"]
        words += [str(SOAK_LOAD * at_most), "--seconds", str(seconds), "--keep", str(kept)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as generator:
            reloads = 0
            while generator.poll() is None:
                try:
                    generator.wait(every)
                except subprocess.TimeoutExpired:
                    reloads += 1
                    crown(task, digests[reloads % 2])
            assert generator.stdout
            run = json.loads(generator.stdout.read())
        rows = {name: row for name, row in _rows(world, task).items() if name not in before}
        equal = rows == _answers(kept)
        killed = world / "killed.jsonl"
        words[-3:] = ["5", "--keep", str(killed)]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as generator:
            time.sleep(2.5)
            process.kill()
            generator.wait()
    acknowledged, logged = _answers(killed), _rows(world, task)
    return {
        **run, "rate": SOAK_LOAD * at_most, "reloads": reloads, "rows": len(rows), "rows_equal_answers": equal,
        "killed": {
            "acknowledged": len(acknowledged),
            "lost": sum(logged.get(name) != row for name, row in acknowledged.items()),
        },
    }  # fmt: skip


def _rows(world: Path, task: str) -> dict[str, Any]:
    database = sqlite3.connect(world / "var" / "predictions" / f"{task}.db")
    query = "SELECT id, model, label, probabilities FROM predictions"
    rows = {name: [model, label, json.loads(found)] for name, model, label, found in database.execute(query)}
    database.close()
    return rows


def _answers(kept: Path) -> dict[str, Any]:
    return {name: rest for name, *rest in map(json.loads, kept.read_text().splitlines())}


def main() -> None:
    """Measures, prints, and writes `results/serving.json` or `results/soak.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "data")
    parser.add_argument("--seconds", type=float, default=8, help="of one run")
    parser.add_argument("--soak", type=float, help="seconds; runs the soak instead")
    parser.add_argument("--reload", type=float, default=30, help="seconds between two champions in the soak")
    options = parser.parse_args()
    import polars

    from tidegate.package import available_cpus, read_metadata
    from tidegate.quiet import quiet

    quiet()
    package = (options.data / "candidate").resolve()
    texts = polars.read_parquet(options.data / "test.parquet", columns=["text"])["text"][:2048].to_list()
    task = read_metadata(package)["task"]
    with tempfile.TemporaryDirectory() as name:
        world, file = Path(name), Path(name) / "texts.json"
        for count in COUNTS:
            (world / str(count)).mkdir()
        file.write_text(json.dumps(texts))
        digests = make_world(world, package)
        if options.soak:
            found = soak(world, digests, task, file, options.soak, options.reload)
            print(json.dumps(found, indent=2))
        else:
            found = compare(world, package, texts, file, options.seconds)
            show(found)
    found["hardware"] = {"machine": platform.machine(), "cpus": available_cpus(), "system": platform.system()}
    target = HERE / "results" / ("soak.json" if options.soak else "serving.json")
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
