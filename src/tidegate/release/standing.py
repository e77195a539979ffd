"""What follows from the log of a task: who is champion, what is denied, what was approved. Pure functions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Entry = Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Standing:
    """Where a task stands. Candidates, decisions, recipes and test sets are named by their digests."""

    champion: str | None = None
    best: str | None = None
    """The champion that was the best on test ever, of those that are not denied; else the champion itself."""
    challenger: str | None = None
    """What was judged last and is not champion."""
    champions: list[str] = field(default_factory=list)
    """All that ever were champion, in the order in which they became it; one may come again."""
    decisions: dict[str, str] = field(default_factory=dict)
    """By candidate the decision on it, the latest; candidates in the order in which they were first judged."""
    recipes: dict[str, set[str]] = field(default_factory=dict)
    """By candidate all that it was ever made from."""
    denied: dict[str, str] = field(default_factory=dict)
    """By candidate or recipe why it may not become champion."""
    approved_until: dict[str, str] = field(default_factory=dict)
    """By decision the time (UTC) until which its approval counts; a new champion ends all of them."""
    judged_on: dict[str, set[str]] = field(default_factory=dict)
    """By test set the candidates that it decided about."""
    _bests: list[str] = field(default_factory=list)

    def denial(self, candidate: str, recipe: str | None) -> str | None:
        """Why a candidate of a recipe may not become champion; None where it may."""
        return self.denied.get(candidate) or (self.denied.get(recipe) if recipe else None)

    def before(self) -> str | None:
        """The champion before the present one that is not denied: where a rollback leads."""
        earlier = [digest for digest in self.champions if digest != self.champion and digest not in self.denied]
        return earlier[-1] if earlier else None

    def _take(self, entry: Entry) -> None:
        candidate, event = entry["candidate"], entry["event"]
        if recipe := entry.get("recipe"):
            self.recipes.setdefault(candidate, set()).add(recipe)
        match event:
            case "judged":
                self._judged(candidate, entry["decision"], entry["test"])
            case "promoted":
                self._crown(candidate, best=entry["best"])
            case "found":
                self._found(candidate, entry["aliases"])
            case "approved":
                self.approved_until[entry["decision"]] = entry["until"]
            case "rejected":
                self._deny(candidate, entry)
            case "rolled_back":
                self._deny(candidate, entry)
                self._allow(entry["to"], but=self.recipes.get(candidate, set()))
                self._crown(entry["to"], best=False)

    def _judged(self, candidate: str, decision: str, test: str) -> None:
        self.decisions[candidate] = decision
        self.judged_on.setdefault(test, set()).add(candidate)
        recipes = self.recipes.get(candidate, set())
        if candidate != self.champion and not any(self.denial(candidate, recipe) for recipe in recipes | {""}):
            self.challenger = candidate

    def _found(self, candidate: str, aliases: Iterable[str]) -> None:
        if "best" in aliases:
            self._bests.append(candidate)
        if "champion" in aliases:
            self._crown(candidate, best=False)
        self._choose_best()

    def _crown(self, candidate: str, *, best: bool) -> None:
        self.champion = candidate
        self.champions.append(candidate)
        self.approved_until.clear()
        if self.challenger == candidate:
            self.challenger = None
        if best:
            self._bests.append(candidate)
        self._choose_best()

    def _deny(self, candidate: str, entry: Entry) -> None:
        words = f"{entry['event'].replace('_', ' ')} by {entry['by']} at {entry['at']} ({'; '.join(entry['why'])})"
        for digest in {candidate} | self.recipes.get(candidate, set()):
            self.denied[digest] = words
        if self.challenger == candidate:
            self.challenger = None
        self._choose_best()

    def _allow(self, candidate: str, *, but: set[str]) -> None:
        for digest in {candidate} | self.recipes.get(candidate, set()) - but:
            self.denied.pop(digest, None)

    def _choose_best(self) -> None:
        left = [digest for digest in self._bests if digest not in self.denied]
        self.best = left[-1] if left else self.champion


def of(entries: Iterable[Entry]) -> Standing:
    """Where a task stands after these entries, the oldest first."""
    standing = Standing()
    for entry in entries:
        standing._take(entry)
    return standing
