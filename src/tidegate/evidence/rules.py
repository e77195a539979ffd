"""The rules of the gate as pure functions of figures, and the one that makes a verdict of them.

A rule compares a figure and its interval with a bound. Where figures come from is for `stages/gate`;
how they are resampled for `scoring` and `statistics`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

from tidegate.evidence import statistics

Verdict = Literal["pass", "fail", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What was measured on labelled rows, with the interval that a one-sided test at alpha has at either end."""

    value: float | None
    low: float | None
    high: float | None
    rows: int

    @classmethod
    def of(cls, metric: Mapping[str, Any], rows: int) -> "Figure":
        """From a metric as docs/artifacts.md has it."""
        return cls(value=metric["value"], low=metric["low"], high=metric["high"], rows=rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of the decision."""

    name: str
    verdict: Verdict | Literal["off"]
    sentence: str
    figure: float | None = None
    bound: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    unit: str = ""
    more_rows: int | None = None
    """Labelled rows that would decide it, were the figure seen the true one; None where it is decided."""

    def as_json(self) -> dict[str, Any]:
        """As `decision.json` holds it."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """How sure a rule has to be."""

    alpha: float
    """Chance of a wrong pass at the bound, one-sided, for each rule."""
    power: float
    """Chance of a right decision that `more_rows` asks for."""
    replicates: int
    """How often the groups are drawn anew."""
    seed: int
    """Of those draws."""

    __test__ = False  # no test case, whatever pytest thinks of the name

    @property
    def confidence(self) -> float:
        """Of the two-sided interval whose either end is a one-sided test at alpha."""
        return 1 - 2 * self.alpha

    def more_rows(self, figure: Figure, bound: float) -> int | None:
        """See `statistics.rows_to_decide`."""
        if figure.value is None or figure.low is None or figure.high is None:
            return None
        return statistics.rows_to_decide(
            rows=figure.rows, width=figure.high - figure.low, distance=figure.value - bound, alpha=self.alpha,
            power=self.power,
        )  # fmt: skip


def off(name: str) -> Rule:
    """A rule that the params switch off: it stands in the report and decides nothing."""
    return Rule(name=name, verdict="off", sentence="Switched off in params.yaml (its bound is null).")


def stated(name: str, verdict: Verdict, sentence: str) -> Rule:
    """A rule without a figure: there was nothing to compare, or nothing comparable."""
    return Rule(name=name, verdict=verdict, sentence=sentence)


def above(name: str, subject: str, figure: Figure, bound: float, test: Test, *, unit: str = "") -> Rule:
    """Passes if the figure is shown to be above the bound, fails if shown to be below it."""
    shown = figure.low is not None and figure.low > bound
    refuted = figure.high is not None and figure.high < bound
    return _tested(name, f"{subject} is {{}}above {bound:g}", figure, bound, test, unit, shown=shown, refuted=refuted)


def below(name: str, subject: str, figure: Figure, bound: float, test: Test, *, unit: str = "") -> Rule:
    """Passes if the figure is shown to be below the bound, fails if shown to be above it."""
    shown = figure.high is not None and figure.high < bound
    refuted = figure.low is not None and figure.low > bound
    return _tested(name, f"{subject} is {{}}below {bound:g}", figure, bound, test, unit, shown=shown, refuted=refuted)


def _tested(
    name: str, claim: str, figure: Figure, bound: float, test: Test, unit: str, *, shown: bool, refuted: bool
) -> Rule:
    verdict: Verdict = "pass" if shown else "fail" if refuted else "undecided"
    more = test.more_rows(figure, bound) if verdict == "undecided" else None
    return Rule(
        name=name, verdict=verdict, figure=figure.value, bound=bound, low=figure.low, high=figure.high,
        n=figure.rows, unit=unit, more_rows=more, sentence=_sentence(claim, figure, verdict, more),
    )  # fmt: skip


def _sentence(claim: str, figure: Figure, verdict: Verdict, more: int | None) -> str:
    words = {"pass": "shown to be ", "fail": "shown not to be ", "undecided": "not shown to be "}
    told = claim.format(words[verdict])
    if figure.value is None:
        return f"{told}: it is not defined on these rows."
    if figure.low is None or figure.high is None:
        return f"{told}: {figure.value:.4f} on {figure.rows:,} rows, in too few groups for an interval."
    seen = f"{told}: {figure.value:.4f} ({figure.low:.4f} to {figure.high:.4f}; n = {figure.rows:,} rows)"
    if verdict != "undecided":
        return f"{seen}."
    if more is None:
        return f"{seen}; the figure lies on its bound, and no number of rows decides that."
    return f"{seen}; some {more:,} more labelled rows would decide it."


def at_most(name: str, subject: str, value: float | None, bound: float, *, unit: str) -> Rule:
    """Passes if a measured value, one without an interval, is at most the bound; undecided if there is none."""
    if value is None:
        return Rule(name=name, verdict="undecided", bound=bound, unit=unit, sentence=f"{subject} was not measured.")
    holds = value <= bound
    shown, limit = (f"{number:,.4g}{f' {unit}' if unit else ''}" for number in (value, bound))
    sentence = f"{subject} is {shown}, {'' if holds else 'not '}at most {limit}."
    return Rule(name=name, verdict="pass" if holds else "fail", figure=value, bound=bound, unit=unit, sentence=sentence)


def right_more_often(name: str, other: str, found: Mapping[str, float], rows: int, test: Test) -> Rule:
    """Passes if a McNemar test shows the candidate to be right more often than the other, fails if less often.

    Args:
        found: as `statistics.mcnemar` gives it, the candidate first. Its p-value is two-sided, so the bound is
            2 alpha, and the sign tells the two ways apart.
    """
    only, others, p = int(found["only_first_right"]), int(found["only_second_right"]), found["p_value"]
    shown = p < 2 * test.alpha
    verdict: Verdict = ("pass" if only > others else "fail") if shown else "undecided"
    words = {
        "pass": "shown to be right more",
        "fail": "shown to be right less",
        "undecided": "not shown to be right more",
    }
    z = NormalDist().inv_cdf(1 - test.alpha)
    distance = found["statistic"] ** 0.5  # of the difference from zero, in its own standard errors
    more = None if shown else statistics.rows_to_decide(
        rows=rows, width=2 * z, distance=distance, alpha=test.alpha, power=test.power
    )  # fmt: skip
    sentence = (
        f"The candidate is {words[verdict]} often than {other}: {only:,} rows are right with it alone, {others:,} with "
        f"the other alone (McNemar's test clustered by group: p = {p:.4f}; n = {rows:,} rows)"
    )
    end = f"; some {more:,} more labelled rows would decide it." if more else "."
    return Rule(
        name=name, verdict=verdict, figure=p, bound=2 * test.alpha, n=rows, unit="p-value", more_rows=more,
        sentence=sentence + end,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One slice of the rows: the candidate's accuracy minus the champion's."""

    name: str
    difference: Figure
    p_harmed: float
    """One-sided p-value against "the difference is at least minus the margin"."""
    judged: bool
    """Whether it holds enough rows to be tested."""


def slices_not_harmed(name: str, slices: Sequence[Slice], *, margin: float, alpha: float) -> Rule:
    """Fails if any slice is shown to be harmed by more than the margin.

    Over the slices that are large enough the chance of any false finding is held to alpha (Holm); the others
    are listed. Not showing harm is enough, so this rule is never undecided.
    """
    judged = [part for part in slices if part.judged]
    small = [part.name for part in slices if not part.judged]
    listed = f" Too small to tell: {', '.join(small)}." if small else ""
    if not judged:
        return stated(name, "pass", f"No slice holds enough rows to be tested.{listed}")
    adjusted = statistics.holm([part.p_harmed for part in judged])
    harmed = [part.name for part, p in zip(judged, adjusted, strict=True) if p < alpha]
    worst = min(judged, key=lambda part: (part.difference.value or 0.0, part.name))
    figure = worst.difference
    told = f"shown to be harmed by more than {margin:g}: {', '.join(harmed)}" if harmed else "no slice shown harmed"
    sentence = f"Of {len(judged)} slices {told}; the worst is {worst.name} with {_signed(figure)}.{listed}"
    return Rule(
        name=name, verdict="fail" if harmed else "pass", figure=figure.value, bound=-margin, low=figure.low,
        high=figure.high, n=figure.rows, unit="difference", sentence=sentence,
    )  # fmt: skip


def _signed(figure: Figure) -> str:
    interval = "" if figure.low is None or figure.high is None else f" ({figure.low:+.4f} to {figure.high:+.4f})"
    return f"{figure.value or 0.0:+.4f}{interval} on {figure.rows:,} rows"


def combine(rules: Sequence[Rule]) -> Verdict:
    """Any fail is a fail; else any undecided is undecided; else pass. Every rule tests at alpha by itself.

    To pass, all have to, so the chance of a wrong pass is at most alpha without a correction (intersection-union
    test: R. Berger, Technometrics 24(4), 1982).
    """
    verdicts = {rule.verdict for rule in rules}
    return "fail" if "fail" in verdicts else "undecided" if "undecided" in verdicts else "pass"


def reasons(rules: Sequence[Rule]) -> list[str]:
    """The sentences that explain the verdict: of the rules that gave it; of a pass, what the champion's rules say."""
    verdict = combine(rules)
    if verdict != "pass":
        return [f"{rule.name}: {rule.sentence}" for rule in rules if rule.verdict == verdict]
    passed = sum(rule.verdict == "pass" for rule in rules)
    return [
        f"All {passed} rules that are on pass.",
        *(f"{rule.name}: {rule.sentence}" for rule in rules if rule.name.startswith("champion")),
    ]
