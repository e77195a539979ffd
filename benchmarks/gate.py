"""The gate's operating characteristics: how often its rules promote models whose true difference is known.

Two worlds give models on a test set of the size in use. *simulated*: right and wrong come from a normal variable that
rows of a group and models share, so every true accuracy is known. *real*: groups of the test set are drawn again with
what candidate and teacher said of them, the two exchange roles in half of the groups, so that they are truly equal, and
a known share of right rows is spoiled. The rules are the gate's own. Needs `make repro` first. Writes
`results/gate.json` and the figures of docs/gate.md. Usage: python benchmarks/gate.py [SHARE OF THE TRIALS]
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy import stats

from tidegate import files
from tidegate.evidence import judgement, predictions, rules, scoring, statistics
from tidegate.evidence.rules import Test
from tidegate.evidence.scoring import Predictions

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "gate.md"
MARKS = "<!-- figures: written by benchmarks/gate.py -->", "<!-- end of the figures -->"
DIFFERENCES = (-0.03, -0.02, -0.01, -0.005, 0.0, 0.005, 0.01, 0.02, 0.03)
TRIALS, NULL_TRIALS, CHAINS, SLICED = 200, 1200, 60, 120
BATCH = 60  # trials whose resampling is one matrix product
REPLICATES = 1000  # the fewest that the gate allows; more make its intervals steadier, not narrower
STEPS, STEP = 10, 0.005
KINDS = {
    "successive": "each half a point worse than the one before",
    "persistent": "each half a point worse than the champion then, so that every loss that gets in is built upon",
}
"""How the models of a chain come about."""

Figures = dict[scoring.Decision, statistics.Resampled]
Maker = Callable[[float, int], Predictions]
"""Gives on one test set the model of a loss (accuracy) and a turn."""


def made(
    actual: NDArray[Any], numbers: NDArray[Any], hit: NDArray[Any], wrong: NDArray[Any], labels: int
) -> Predictions:
    """A model that says the actual label where it hits, and else the wrong label given."""
    ids = np.arange(len(actual)).astype("U5")
    names = tuple(f"label {i}" for i in range(labels))
    return Predictions(
        ids, np.char.zfill(numbers.astype("U5"), 5), names, actual, np.eye(labels)[np.where(hit, actual, wrong)]
    )


@dataclass(frozen=True)
class Simulated:
    """Groups, labels and accuracy as in the test set in use."""

    base: Predictions
    accuracy: float
    own: float = 0.12
    """Share of the variance that is a model's own; it was set so that two models disagree as retrained ones do."""
    by_group: float = 0.25
    """Share of any variance that the rows of a group have in common."""

    def sample(self, chance: np.random.Generator) -> Maker:
        """A test set; what it gives makes models that are less accurate than the world's accuracy by a loss."""
        numbers, k = self.base.group_numbers, len(self.base.labels)
        common, actual = self._noise(numbers, chance), chance.permutation(self.base.actual)

        def model(loss: float, turn: int) -> Predictions:
            latent = np.sqrt(1 - self.own) * common + np.sqrt(self.own) * self._noise(numbers, chance)
            wrong = (actual + chance.integers(1, k, len(actual))) % k
            return made(actual, numbers, latent < stats.norm.ppf(self.accuracy - loss), wrong, k)

        return model

    def _noise(self, numbers: NDArray[Any], chance: np.random.Generator) -> NDArray[Any]:
        group, row = chance.normal(size=numbers.max() + 1)[numbers], chance.normal(size=len(numbers))
        return np.asarray(np.sqrt(self.by_group) * group + np.sqrt(1 - self.by_group) * row)


@dataclass(frozen=True)
class Real:
    """Groups of the test set with what two models truly said of them."""

    first: Predictions
    second: Predictions

    def sample(self, chance: np.random.Generator) -> Maker:
        """A test set; by turns it gives the one and the other of the two, spoiled until a loss is expected."""
        rows, numbers = drawn_groups(self.first.group_numbers, chance)
        swapped = (chance.random(numbers.max() + 1) < 0.5)[numbers]
        said = [p.predicted[rows] for p in (self.first, self.second)]
        actual, k = self.first.actual[rows], len(self.first.labels)
        accuracy = np.mean([p.predicted == p.actual for p in (self.first, self.second)])

        def model(loss: float, turn: int) -> Predictions:
            label = np.where(swapped, said[(turn + 1) % 2], said[turn % 2])
            right = label == actual
            spoiled = right & (chance.random(len(rows)) < loss / accuracy)
            wrong = np.where(right, (actual + chance.integers(1, k, len(rows))) % k, label)
            return made(actual, numbers, right & ~spoiled, wrong, k)

        return model


def drawn_groups(numbers: NDArray[Any], chance: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
    """As many groups as there are, with replacement: the rows, and their groups numbered anew."""
    order, sizes = np.argsort(numbers, kind="stable"), np.bincount(numbers)
    drawn = chance.integers(0, len(sizes), len(sizes))
    anew = np.repeat(np.arange(len(drawn)), sizes[drawn])
    within = np.arange(len(anew)) - np.repeat(np.cumsum(sizes[drawn]) - sizes[drawn], sizes[drawn])
    return order[np.repeat(np.cumsum(sizes)[drawn] - sizes[drawn], sizes[drawn]) + within], anew


def rate(hits: int, trials: int) -> dict[str, float | int]:
    """A share with its exact interval (Clopper and Pearson)."""
    exact = stats.binomtest(hits, trials).proportion_ci(0.95)
    return {"hits": hits, "trials": trials, "share": hits / trials, "low": float(exact.low), "high": float(exact.high)}


def decided(difference: float, trials: int, world: Any, settings: dict[str, Any], test: Test) -> dict[str, Any]:
    """How the modes decide where the candidate's true accuracy minus the champion's is the difference."""
    verdicts: dict[str, list[str]] = {}
    asked = {"primary": settings["primary"], "margin": settings["champion_margin"], "test": test}
    for start in range(0, trials, BATCH):
        chance = np.random.default_rng([7, int(1e4 * (1 + difference)), start])
        makers = [world.sample(chance) for _ in range(min(BATCH, trials - start))]
        pairs = [(make(max(0.0, -difference), 0), make(max(0.0, difference), 1)) for make in makers]
        drawn = resampled([p for pair in pairs for p in pair], test, start)
        for (a, b), x, y in zip(pairs, drawn[::2], drawn[1::2], strict=True):
            for mode in ("replace", "refresh"):
                found = scoring.minus(x, y)
                lines = list(judgement.challenged(a, b, superior=mode == "replace", found=found, **asked))
                verdicts.setdefault(mode, []).append(rules.combine(lines))
                if mode == "replace":
                    for line in (lines[0], lines[-1]):
                        verdicts.setdefault(f"{line.name} alone", []).append(line.verdict)
    return {
        name: {verdict: rate(seen.count(verdict), trials) for verdict in ("pass", "fail")}
        for name, seen in verdicts.items()
    }


def resampled(models: Sequence[Predictions], test: Test, start: int) -> list[Figures]:
    """Every model's figures, by one matrix product; each batch of trials draws other groups."""
    return scoring.decisions_each(models, replicates=test.replicates, seed=test.seed + start)


def chains(world: Any, count: int, settings: dict[str, Any], test: Test) -> dict[str, dict[str, Any]]:
    """By how each next model comes about, and by whether the best ever is looked at: what is lost in the end."""
    found: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        for words, best_rule in (("with", True), ("without", False)):
            losses: list[float] = []
            for start in range(0, count, BATCH):
                chance = np.random.default_rng([8, start])
                makers = [world.sample(chance) for _ in range(min(BATCH, count - start))]
                settled = replace(test, seed=test.seed + start)
                losses += ended(makers, settings, settled, persistent=kind == "persistent", best_rule=best_rule)
            found.setdefault(kind, {})[words] = lost(losses, settings["best_margin"])
    return found


def lost(losses: Sequence[float], margin: float) -> dict[str, Any]:
    """How often the whole margin is lost, and how often more."""
    reached, beyond = (sum(loss > margin + slack for loss in losses) for slack in (-1e-9, 1e-9))
    return {
        "margin": rate(reached, len(losses)), "more": rate(beyond, len(losses)), "mean": float(np.mean(losses)),
        "largest": max(losses),
    }  # fmt: skip


@dataclass
class Served:
    """A model of a chain with its true loss and its figures."""

    model: Predictions
    loss: float
    figures: Figures


def ended(
    makers: Sequence[Maker], settings: dict[str, Any], test: Test, *, persistent: bool, best_rule: bool
) -> list[float]:
    """By chain the true loss of the champion in the end; best ever is the champion with the highest accuracy seen."""
    champions = served(makers, [0.0] * len(makers), 0, test)
    best = list(champions)
    for step in range(1, STEPS + 1):
        before = [champion.loss if persistent else STEP * (step - 1) for champion in champions]
        candidates = served(makers, [loss + STEP for loss in before], step, test)
        for at, candidate in enumerate(candidates):
            if refreshes(candidate, champions[at], best[at] if best_rule else None, settings, test):
                champions[at] = candidate
                best[at] = max(best[at], candidate, key=lambda one: one.figures["accuracy"].value)
    return [champion.loss for champion in champions]


def served(makers: Sequence[Maker], losses: Sequence[float], turn: int, test: Test) -> list[Served]:
    """A model of each chain."""
    models = [make(loss, turn) for make, loss in zip(makers, losses, strict=True)]
    return [Served(*one) for one in zip(models, losses, resampled(models, test, 0), strict=True)]


def refreshes(candidate: Served, champion: Served, best: Served | None, settings: dict[str, Any], test: Test) -> bool:
    """Whether the candidate passes the rules of mode refresh."""
    lines = list(
        judgement.challenged(
            candidate.model, champion.model, superior=False, primary=settings["primary"], test=test,
            margin=settings["champion_margin"], found=scoring.minus(candidate.figures, champion.figures),
        )
    )  # fmt: skip
    if best:
        bounds: dict[scoring.Decision, float] = dict.fromkeys(judgement.WORDS, -settings["best_margin"])
        found = scoring.minus(candidate.figures, best.figures)
        lines += judgement.compared("best", "its", candidate.model, best.model, bounds, test, found)
    return rules.combine(lines) == "pass"


LAYOUT = {"large": 1200, "other": 600, **{f"small {i}": 120 for i in range(12)}}


def sliced(accuracy: float, gains: dict[str, float], chance: np.random.Generator) -> tuple[Predictions, Predictions]:
    """Candidate and champion on slices; the candidate's true accuracy in a slice is the champion's plus its gain."""
    part = np.repeat(list(LAYOUT), list(LAYOUT.values()))
    numbers, actual = np.arange(len(part)) // 2, chance.integers(0, 3, len(part))
    both = chance.normal(size=len(part))
    found = []
    for gain in (np.array([gains.get(name, gains[""]) for name in part]), np.zeros(len(part))):
        latent = np.sqrt(0.88) * both + np.sqrt(0.12) * chance.normal(size=len(part))
        hit = latent < stats.norm.ppf(accuracy + gain)
        found.append(made(actual, numbers, hit, (actual + chance.integers(1, 3, len(part))) % 3, 3))
    return replace(found[0], slices={"part": part}), replace(found[1], slices={"part": part})


def slice_rates(accuracy: float, trials: int, settings: dict[str, Any], test: Test) -> dict[str, Any]:
    """How often the slice rule stops a candidate, by what is true of its slices."""
    margin = settings["slice_margin"]
    truths: dict[str, dict[str, float]] = {
        "equal in every slice": {"": 0.0},
        f"{100 * margin:g} points worse in every slice (the margin)": {"": -margin},
    }
    for name, loss in (("other", 0.05), ("other", 0.1), ("small 0", 0.15)):
        truths[f"{100 * loss:g} points worse in {name!r}, 3 better elsewhere"] = {"": 0.03, name: -loss}
    found = {}
    for turn, (words, gains) in enumerate(truths.items()):
        stopped = []
        for trial in range(trials):
            a, b = sliced(accuracy, gains, np.random.default_rng([9, turn, trial]))
            rule = judgement.slices(
                a, b, margin=margin, minimum_rows=settings["slice_minimum_rows"], test=replace(test, seed=trial)
            )
            stopped.append(rule.verdict == "fail")
        found[words] = rate(sum(stopped), trials)
    return found


def shape(world: Any) -> dict[str, float]:
    """How a pair of equal models of a world differs."""
    make = world.sample(np.random.default_rng(3))
    a, b = make(0.0, 0), make(0.0, 1)
    found = judgement.budget(
        a, b, against="other", tolerance=0.02, test=Test(alpha=0.025, power=0.8, replicates=1000, seed=0)
    )
    difference = (a.predicted == a.actual) * 1.0 - (b.predicted == b.actual)
    return {
        "rows": len(a.ids),
        "groups": a.group_count,
        "discordant": float((difference != 0).mean()),
        "design_effect": found.design_effect,
    }


def measured(share: float) -> dict[str, Any]:
    """Everything, with a share of the usual number of trials."""
    settings = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["gate"]
    labels = files.read_json(ROOT / "data" / "task.json")["labels"]
    first, second = (
        predictions.read(ROOT / "data" / "predictions" / f"{role}.parquet", labels) for role in ("candidate", "teacher")
    )
    test = Test(alpha=settings["alpha"], power=settings["power"], replicates=REPLICATES, seed=settings["seed"])
    accuracy = float((first.predicted == first.actual).mean())
    worlds = {"simulated": Simulated(first, accuracy), "real": Real(first, second)}
    nulls = {0.0, -settings["champion_margin"]}
    found: dict[str, Any] = {
        "alpha": test.alpha, "champion_margin": settings["champion_margin"], "best_margin": settings["best_margin"],
        "slice_margin": settings["slice_margin"], "replicates": REPLICATES, "steps": STEPS, "step": STEP, "worlds": {},
    }  # fmt: skip
    for name, world in worlds.items():
        found["worlds"][name] = shape(world) | {
            "decided": {
                f"{d:g}": decided(d, round(share * (NULL_TRIALS if d in nulls else TRIALS)), world, settings, test)
                for d in sorted({*DIFFERENCES, *nulls})
            },
            "chains": chains(world, round(share * CHAINS), settings, test),
        }
    found["slices"] = {
        "layout": LAYOUT, "stopped": slice_rates(accuracy, round(share * SLICED), settings, test)
    }  # fmt: skip
    return found


def percent(figure: dict[str, float]) -> str:
    """`2.1 % (1.4 to 3.0)`."""
    return f"{100 * figure['share']:.1f} % ({100 * figure['low']:.1f} to {100 * figure['high']:.1f})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows))


def rendered(found: dict[str, Any]) -> str:
    """The figures of docs/gate.md."""
    parts = []
    for name, world in found["worlds"].items():
        parts.append(
            f"**{name.capitalize()}**: {world['rows']:,.0f} rows in {world['groups']:,.0f} groups; of two equal models "
            f"just one is right in {100 * world['discordant']:.1f} % of the rows; the groups make the variance of the "
            f"difference {world['design_effect']:.2f} times that of single rows."
        )
        header = ("true difference, points", "trials", "replace: pass", "fail", "refresh: pass", "fail")
        parts.append(table(header, [_decided_row(d, cell) for d, cell in world["decided"].items()]))
    alone = ("champion_accuracy alone", "champion_mcnemar alone", "replace")
    parts.append("What the parts of *replace* would pass at true equality, and with a gain of one point:")
    parts.append(table(
        ("world", "true difference", "bootstrap of accuracy", "McNemar's test", "all rules of *replace*"),
        [[name, words, *(percent(found["worlds"][name]["decided"][d][key]["pass"]) for key in alone)]
         for name in found["worlds"] for words, d in (("0", "0"), ("+1 point", "0.01"))],
    ))  # fmt: skip
    trials = found["worlds"]["real"]["chains"]["persistent"]["with"]["margin"]["trials"]
    parts.append(
        f"{trials} chains a row, of {found['steps']} models that ask to *refresh* the champion; the margin is that of "
        f"the best ever, {100 * found['best_margin']:g} points. "
        + " ".join(f"*{kind.capitalize()}*: {words}." for kind, words in KINDS.items())
    )
    parts.append(table(
        ("world", "chain", "rule on the best ever", "margin lost", "more", "mean loss, points", "largest"),
        [[name, kind, words, percent(cell["margin"]), percent(cell["more"]), f"{100 * cell['mean']:.2f}",
          f"{100 * cell['largest']:.1f}"]
         for name, world in found["worlds"].items() for kind, both in world["chains"].items()
         for words, cell in both.items()],
    ))  # fmt: skip
    layout = ", ".join(f"{rows:,} {name!r}" for name, rows in list(found["slices"]["layout"].items())[:2])
    small = len(found["slices"]["layout"]) - 2
    parts.append(f"The rule `slices` on slices of {layout} and {small} small ones of 120 rows each; how many it stops:")
    stopped = found["slices"]["stopped"]
    parts.append(table(("the candidate is truly", "trials", "stopped"),
                       [[words, f"{cell['trials']:,}", percent(cell)] for words, cell in stopped.items()]))  # fmt: skip
    return "\n\n".join(parts)


def _decided_row(difference: str, cell: dict[str, Any]) -> list[str]:
    trials = cell["replace"]["pass"]["trials"]
    shares = [percent(cell[mode][verdict]) for mode in ("replace", "refresh") for verdict in ("pass", "fail")]
    return [f"{100 * float(difference):+g}", f"{trials:,}", *shares]


def write_page(found: dict[str, Any]) -> None:
    """Puts the figures between the marks of docs/gate.md."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    PAGE.write_text(f"{before}{MARKS[0]}\n\n{rendered(found)}\n\n{MARKS[1]}{after}", encoding="utf-8")


def main(share: float) -> None:
    """Measures, writes the results and the page, and prints them."""
    start = time.perf_counter()
    found = measured(share)
    if share == 1:
        target = Path(__file__).parent / "results" / "gate.json"
        target.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        write_page(found)
    print(rendered(found))
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
