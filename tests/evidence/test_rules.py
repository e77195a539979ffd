"""The truth tables of the gate's rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tidegate.evidence import rules
from tidegate.evidence.rules import Figure, Rule, Slice, Test

TEST = Test(alpha=0.025, power=0.8, replicates=1000, seed=0)


def figure(low: float | None, value: float | None, high: float | None, rows: int = 1000) -> Figure:
    return Figure(value=value, low=low, high=high, rows=rows)


@pytest.mark.parametrize(
    ("low", "value", "high", "bound", "verdict"),
    [
        (0.01, 0.03, 0.05, 0.0, "pass"),  # superior
        (-0.01, 0.01, 0.03, 0.0, "undecided"),
        (-0.05, -0.03, -0.01, 0.0, "fail"),  # shown worse
        (-0.008, 0.0, 0.008, -0.01, "pass"),  # not inferior by 0.01
        (-0.012, 0.0, 0.012, -0.01, "undecided"),
        (-0.03, -0.02, -0.015, -0.01, "fail"),  # inferior by more
        (0.0, 0.02, 0.04, 0.0, "undecided"),  # the bound itself is not above it
        (0.0, 0.0, 0.0, 0.0, "undecided"),  # equal to itself
        (None, 0.5, None, 0.0, "undecided"),  # too few groups
        (None, None, None, 0.0, "undecided"),  # not defined
    ],
)
def test_above(low: float | None, value: float | None, high: float | None, bound: float, verdict: str):
    assert rules.above("r", "It", figure(low, value, high), bound, TEST).verdict == verdict


@pytest.mark.parametrize(
    ("low", "value", "high", "verdict"),
    [
        (0.02, 0.04, 0.06, "pass"),
        (0.08, 0.09, 0.12, "undecided"),
        (0.11, 0.13, 0.15, "fail"),
        (None, 0.05, None, "undecided"),
    ],
)
def test_below(low: float | None, value: float, high: float | None, verdict: str):
    assert rules.below("r", "It", figure(low, value, high), 0.1, TEST).verdict == verdict


@given(st.floats(-1, 1), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(-1, 1))
def test_above_and_below_contradict_each_other(value: float, down: float, up: float, bound: float):
    seen = figure(value - down, value, value + up)
    verdicts = rules.above("r", "It", seen, bound, TEST).verdict, rules.below("r", "It", seen, bound, TEST).verdict
    assert verdicts in {("pass", "fail"), ("fail", "pass"), ("undecided", "undecided")}


@pytest.mark.parametrize(("value", "verdict"), [(99.0, "pass"), (100.0, "pass"), (100.1, "fail"), (None, "undecided")])
def test_at_most(value: float | None, verdict: str):
    assert rules.at_most("latency", "p95", value, 100.0, unit="ms").verdict == verdict


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [
        (["pass", "pass"], "pass"),
        (["pass", "off"], "pass"),
        (["pass", "undecided"], "undecided"),
        (["undecided", "fail", "pass"], "fail"),
        (["fail", "off"], "fail"),
        (["off"], "pass"),
    ],
)
def test_the_verdict_is_that_of_the_worst_rule(verdicts: list[str], verdict: str):
    judged = [Rule(name=str(i), verdict=v, sentence="") for i, v in enumerate(verdicts)]  # type: ignore[arg-type]
    assert rules.combine(judged) == verdict


def test_the_reasons_are_those_of_the_rules_that_gave_the_verdict():
    judged = [
        Rule(name="floor", verdict="fail", sentence="Too low."),
        Rule(name="champion_accuracy", verdict="undecided", sentence="Too close."),
        Rule(name="size", verdict="pass", sentence="Small."),
    ]
    assert rules.reasons(judged) == ["floor: Too low."]
    assert rules.reasons(judged[1:]) == ["champion_accuracy: Too close."]
    assert rules.reasons(judged[2:]) == ["All 1 rules that are on pass."]
    passed = Rule(name="champion", verdict="pass", sentence="There is no champion.")
    assert rules.reasons([passed, *judged[2:]])[1] == "champion: There is no champion."


def test_undecided_says_how_many_more_rows_would_decide():
    rule = rules.above("r", "The lead", figure(-0.01, 0.01, 0.03, rows=1000), 0.0, TEST)
    # Standard error 0.02 / 1.96, distance 0.01: 1000 * ((1.96 + 0.84) * 0.0102 / 0.01) ** 2 = 8,173 in all.
    assert rule.more_rows == pytest.approx(7173, abs=5)
    assert f"{rule.more_rows:,} more labelled rows" in rule.sentence


def test_what_is_decided_asks_for_no_rows():
    assert rules.above("r", "It", figure(0.1, 0.2, 0.3), 0.0, TEST).more_rows is None


def test_a_figure_on_its_bound_is_said_to_stay_undecided():
    rule = rules.above("r", "It", figure(-0.1, 0.0, 0.1), 0.0, TEST)
    assert rule.more_rows is None
    assert "no number of rows" in rule.sentence


def test_the_sentence_names_figure_interval_and_rows():
    rule = rules.above("r", "Accuracy", figure(0.71, 0.75, 0.79, rows=6000), 0.6, TEST)
    assert rule.sentence == "Accuracy is shown to be above 0.6: 0.7500 (0.7100 to 0.7900; n = 6,000 rows)."


@pytest.mark.parametrize(
    ("only", "others", "p", "verdict"),
    [(60, 30, 0.001, "pass"), (30, 60, 0.001, "fail"), (40, 30, 0.3, "undecided"), (40, 30, 0.05, "undecided"),
     (40, 29, 0.049, "pass"), (0, 0, 1.0, "undecided")],
)  # fmt: skip
def test_right_more_often(only: int, others: int, p: float, verdict: str):
    found = {"only_first_right": only, "only_second_right": others, "statistic": stats.chi2.isf(p, 1), "p_value": p}
    rule = rules.right_more_often("r", "the champion", found, 1000, TEST)
    assert rule.verdict == verdict
    assert (rule.more_rows is not None) == (verdict == "undecided" and only != others)
    assert f"{only} rows are right with it alone" in rule.sentence


def part(name: str, value: float, p: float, *, judged: bool = True) -> Slice:
    return Slice(name=name, difference=figure(value - 0.01, value, value + 0.01, 200), p_harmed=p, judged=judged)


@pytest.mark.parametrize(
    ("slices", "verdict"),
    [
        ([], "pass"),
        ([part("a", 0.1, 1.0)], "pass"),
        ([part("a", -0.2, 0.001)], "fail"),
        ([part("a", -0.2, 0.04), part("b", 0.0, 0.9)], "pass"),  # 0.04 alone, not of two (Holm: 0.08)
        ([part("a", -0.2, 0.02), part("b", 0.0, 0.9)], "fail"),
        ([part("a", -0.5, 0.0001, judged=False)], "pass"),  # too small to tell
    ],
)
def test_slices_fail_only_where_harm_is_shown(slices: list[Slice], verdict: str):
    assert rules.slices_not_harmed("slices", slices, margin=0.0, alpha=0.05).verdict == verdict


def test_slices_too_small_to_tell_are_listed_and_the_worst_is_named():
    rule = rules.slices_not_harmed(
        "slices", [part("a", 0.1, 1.0), part("b", -0.1, 0.5), part("c", -0.5, 0.0, judged=False)], margin=0, alpha=0.05
    )
    assert "Too small to tell: c." in rule.sentence
    assert "the worst is b" in rule.sentence
    assert rule.figure == -0.1


def test_a_rule_that_is_off_says_so():
    assert rules.off("size").verdict == "off"
    assert "null" in rules.off("size").sentence
