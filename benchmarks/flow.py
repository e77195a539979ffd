"""Serial `dvc repro` against the flow on a diamond of stages that wait: the ratio of their wall times, in one run.

A user would pick `dvc repro`, which runs one stage after the other. Five stages of equal length form a diamond with
three branches: the critical path is three stages long. Usage: python benchmarks/flow.py [SECONDS A STAGE]
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROUNDS = 3
BRANCHES = ("left", "middle", "right")


def stage(needs: list[str], name: str, seconds: float) -> dict[str, object]:
    """A stage of `dvc.yaml` that waits so many seconds."""
    code = f"import time; time.sleep({seconds}); open('{name}.txt', 'w').write('{name}')"
    return {
        "cmd": f'python -c "{code}"',
        "deps": ["seed.txt", *(f"{need}.txt" for need in needs)],
        "outs": [f"{name}.txt"],
    }


def repository(folder: Path, seconds: float) -> None:
    """A git and DVC repository with the diamond."""
    stages = {"top": stage([], "top", seconds)}
    stages |= {name: stage(["top"], name, seconds) for name in BRANCHES}
    stages["bottom"] = stage(list(BRANCHES), "bottom", seconds)
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, check=True)


def timed(folder: Path, seed: str, call: list[str]) -> float:
    """Seconds of wall time that a command takes once the seed has changed, so that every stage is stale."""
    (folder / "seed.txt").write_text(seed, encoding="utf-8")
    start = time.perf_counter()
    subprocess.run(call, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main(seconds: float) -> None:
    """Runs both in turn, prints the medians and their ratio, and writes them to `results/flow.json`."""
    from tidegate.quiet import quiet

    quiet()
    here = Path(__file__).resolve().parents[1]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(here), str(here / "src")])
    flow = (
        "from pathlib import Path; from prefect import flow; from flows.train import run_pipeline;"
        "flow(lambda: run_pipeline(Path.cwd(), 4), name='bench')()"
    )
    calls = {"dvc repro": ["dvc", "repro", "-q"], "flow": [sys.executable, "-c", flow]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        repository(folder, seconds)
        walls = {label: [timed(folder, f"{label}{n}", call) for n in range(ROUNDS)] for label, call in calls.items()}
    medians = {label: statistics.median(times) for label, times in walls.items()}
    result = {
        "stages": 5, "critical_path": 3, "seconds_a_stage": seconds, "rounds": ROUNDS,
        "wall_s": walls, "median_s": medians,
        "flow_to_dvc_repro": medians["flow"] / medians["dvc repro"],
        "hardware": {"machine": platform.machine(), "cpus": os.cpu_count(), "system": platform.system()},
    }  # fmt: skip
    target = Path(__file__).parent / "results" / "flow.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for label, median in medians.items():
        print(f"{label:<10} median {median:6.1f} s of {ROUNDS} rounds, {seconds:g} s a stage")
    print(f"flow / dvc repro: {result['flow_to_dvc_repro']:.2f} (the critical path alone would be {3 / 5:.2f})")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0)
