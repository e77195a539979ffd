"""What follows from a log, by tables: who is champion, best and challenger, what is denied, where a rollback leads."""

from typing import Any

import pytest

from tidegate.release import standing

RECIPES = {"a": "ra", "b": "rb", "c": "rc", "again": "rb"}


def judged(candidate: str, *, test: str = "t") -> dict[str, Any]:
    return {
        "event": "judged", "candidate": candidate, "decision": f"on {candidate}", "test": test,
        "recipe": RECIPES[candidate],
    }  # fmt: skip


def promoted(candidate: str, *, best: bool = True) -> dict[str, Any]:
    return {"event": "promoted", "candidate": candidate, "best": best, "recipe": RECIPES[candidate]}


def rejected(candidate: str) -> dict[str, Any]:
    said = {"by": "ada", "at": "noon", "why": ["rude"]}
    return {"event": "rejected", "candidate": candidate, "recipe": RECIPES[candidate], **said}


def rolled_back(candidate: str, to: str) -> dict[str, Any]:
    return {**rejected(candidate), "event": "rolled_back", "to": to}


def found(candidate: str, *aliases: str) -> dict[str, Any]:
    return {"event": "found", "candidate": candidate, "aliases": aliases}


A, B = [judged("a"), promoted("a")], [judged("b"), promoted("b")]


@pytest.mark.parametrize(
    ("entries", "champion", "best", "challenger", "before"),
    [
        ([], None, None, None, None),
        ([judged("a")], None, None, "a", None),
        (A, "a", "a", None, None),
        ([*A, judged("b")], "a", "a", "b", None),
        ([*A, *B], "b", "b", None, "a"),
        ([*A, judged("b"), promoted("b", best=False)], "b", "a", None, "a"),
        ([*A, judged("b"), rejected("b")], "a", "a", None, None),
        ([*A, *B, rolled_back("b", "a")], "a", "a", None, None),
        ([*A, judged("b"), promoted("b", best=False), rejected("a")], "b", "b", None, None),  # no best is left
        ([*A, *B, rolled_back("b", "a"), judged("b")], "a", "a", None, None),  # denied: no challenger either
        ([*A, *B, rolled_back("b", "a"), judged("again")], "a", "a", None, None),  # of a denied recipe
        ([*A, *B, rolled_back("b", "a"), judged("c")], "a", "a", "c", None),
        ([*A, *B, judged("c"), promoted("c"), rolled_back("c", "b")], "b", "b", None, "a"),
        ([*A, *B, rolled_back("b", "a"), rolled_back("a", "b")], "b", "b", None, None),
        ([*A, judged("a")], "a", "a", None, None),  # the champion judged against itself
        ([found("a", "best", "champion")], "a", "a", None, None),
        ([found("a", "best"), found("b", "champion")], "b", "a", None, None),
        ([found("b", "champion")], "b", "b", None, None),
        ([found("a", "best")], None, "a", None, None),
    ],
)
def test_where_a_task_stands(
    entries: list[dict[str, Any]], champion: str | None, best: str | None, challenger: str | None, before: str | None
) -> None:
    now = standing.of(entries)
    assert (now.champion, now.best, now.challenger, now.before()) == (champion, best, challenger, before)


def test_who_is_rolled_back_is_denied_with_its_recipe_and_the_reason() -> None:
    now = standing.of([*A, *B, rolled_back("b", "a")])
    assert now.denial("b", None) == "rolled back by ada at noon (rude)"
    assert now.denial("again", "rb") == now.denial("b", "rb")
    assert now.denial("a", "ra") is None
    assert now.denial("c", "rc") is None


def test_who_is_put_back_by_name_is_denied_no_more() -> None:
    now = standing.of([*A, *B, rolled_back("b", "a"), rolled_back("a", "b")])
    assert now.denial("b", "rb") is None
    assert now.denial("a", "ra") is not None


def test_a_sibling_that_is_put_back_leaves_their_recipe_denied() -> None:
    entries = [*B, judged("again"), promoted("again"), rolled_back("again", "b")]
    now = standing.of(entries)
    assert now.champion == "b"
    assert now.denial("b", None) is None
    assert now.denial("one more of that recipe", "rb") is not None


def test_a_test_set_counts_each_candidate_once() -> None:
    entries = [judged("a"), judged("a"), judged("b"), judged("a", test="other")]
    assert standing.of(entries).judged_on == {"t": {"a", "b"}, "other": {"a"}}


def test_all_recipes_of_a_denied_candidate_are_denied() -> None:
    again = {**judged("b"), "recipe": "another"}
    now = standing.of([*A, *B, again, rolled_back("b", "a")])
    assert now.denial("b by other hardware", "rb")
    assert now.denial("b by other hardware", "another")


def test_a_new_champion_ends_every_approval() -> None:
    approved = {"event": "approved", "candidate": "b", "decision": "on b", "until": "later"}
    assert standing.of([*A, judged("b"), approved]).approved_until == {"on b": "later"}
    assert standing.of([*A, judged("b"), approved, judged("c"), promoted("c")]).approved_until == {}


def test_an_approval_is_one_of_a_decision() -> None:
    approved = {"event": "approved", "candidate": "a", "decision": "d", "until": "later"}
    assert standing.of([judged("a"), approved]).approved_until == {"d": "later"}
