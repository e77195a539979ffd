"""After how many audited labels the test of accuracy finds a loss, and how often it finds one where none is.

Simulated champions, looked at after every 25 labels. Writes `results/sequential.json` and the table of
`docs/monitoring.md`. Usage: python benchmarks/sequential.py [CHAMPIONS]
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from monitoring.accuracy import log_e_value  # noqa: E402
from tidegate import monitor_settings  # noqa: E402

REFERENCE = 0.75  # accuracy on test
EVERY = 25  # labels between two looks
LONGEST = 6_000  # labels
HOW = monitor_settings.read(ROOT).accuracy
CASES = [(lost, before) for before in (0, 2_000) for lost in (HOW.tolerance, 0.05, 0.10, 0.15, 0.20)]
"""Accuracy lost, and labels that came before it was."""


def needed(right: np.ndarray, begin: int) -> int | None:
    """Labels at the first look that finds a loss; None where none does."""
    blocks = np.arange(len(right)) // HOW.block
    for count in range(EVERY * (begin // EVERY + 1), len(right) + 1, EVERY):
        if log_e_value(right[:count], blocks[:count], bound=REFERENCE - HOW.tolerance) >= -math.log(HOW.alpha):
            return count
    return None


def case(lost: float, before: int, champions: int) -> dict[str, Any]:
    """What is found of some champions that lose accuracy after some labels."""
    chance = np.random.default_rng([int(1000 * lost), before])
    length = 2_500 if lost > 0.05 else LONGEST
    accuracies = np.repeat([REFERENCE, REFERENCE - lost], [before, length])
    found = [needed(chance.random(len(accuracies)) < accuracies, 0) for _ in range(champions)]
    after = sorted(count - before if count else math.inf for count in found)
    middle, late = (after[round(share * (champions - 1))] for share in (0.5, 0.9))
    return {
        "lost": lost, "before": before, "champions": champions, "labels": length,
        "found": sum(count is not None and count > before for count in found) / champions,
        "too_early": sum(count is not None and count <= before for count in found) / champions,
        "median": middle if middle < math.inf else None, "nine_of_ten": late if late < math.inf else None,
    }  # fmt: skip


def table(cases: list[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = [
        f"Simulated: {cases[0]['champions']} champions each, accuracy {REFERENCE} on test, tolerance {HOW.tolerance}, "
        f"alpha {HOW.alpha}, looked at every {EVERY} labels.",
        "",
        "| accuracy lost, points | good labels before | accused | labels until then: median | 9 of 10 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in cases:
        name = "the tolerance (no loss to find)" if one["lost"] == HOW.tolerance else f"{100 * one['lost']:.0f}"
        counts = [
            f"over {one['labels']:,}" if one[key] is None else f"{one[key]:,}" for key in ("median", "nine_of_ten")
        ]
        share = f"{one['found']:.0%} of them within {one['labels']:,} labels"
        early = f", {one['too_early']:.0%} too early" if one["before"] else ""
        lines.append(f"| {name} | {one['before']:,} | {share}{early} | {counts[0]} | {counts[1]} |")
    return "\n".join(lines)


def main(champions: int) -> None:
    """Simulates, prints and writes."""
    cases = [case(lost, before, champions) for lost, before in CASES]
    print(table(cases))
    target = ROOT / "benchmarks" / "results" / "sequential.json"
    target.write_text(
        json.dumps({"reference": REFERENCE, "alpha": HOW.alpha, "cases": cases}, indent=2) + "\n", "utf-8"
    )
    page, marks = ROOT / "docs" / "monitoring.md", ("<!-- accuracy: begin -->", "<!-- accuracy: end -->")
    text = page.read_text(encoding="utf-8")
    before, after = text.split(marks[0])[0], text.split(marks[1])[1]
    page.write_text(f"{before}{marks[0]}\n{table(cases)}\n{marks[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
