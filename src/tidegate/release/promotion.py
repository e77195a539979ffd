"""Takes the decision out: what `decision.json` says goes into the log, and the registry is made to agree with the log.

Every step may be repeated and ends in the same state, so a run killed anywhere is mended by the next.
What the gate thinks is not questioned here; that the evidence is what was judged, is.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from tidegate import package_store, registry
from tidegate.errors import BudgetError, StaleDecisionError
from tidegate.files import digest_json, read_json
from tidegate.release import admission, dossier, log, reconciling, settings, trees
from tidegate.release.settings import Settings
from tidegate.release.standing import Standing

Intent = Literal["promote", "wait", "denied", "keep", "done"]
_WARN_FROM = 0.8
"""Share of the test set's budget from which promote warns."""


def read_decision(root: Path) -> dict[str, Any]:
    """What the gate decided last.

    Raises:
        DataError: it is missing or damaged.
    """
    keys = ("task", "verdict", "reasons", "candidate", "champion", "best", "recipe", "test", "evidence")
    return dict(read_json(root / "data" / "decision.json", *keys))


def read_evaluation(root: Path) -> dict[str, Any]:
    """What was measured on test last.

    Raises:
        DataError: it is missing or damaged.
    """
    return dict(read_json(root / "data" / "evaluation.json", "models", "paired"))


def intent(decision: Mapping[str, Any], standing: Standing, how: Settings, *, now: str) -> Intent:
    """What has to become of a decision that the log holds.

    Args:
        now: the time, as `log.now` has it.

    Raises:
        StaleDecisionError: the candidate passed against another champion or best ever than the present one, or a later
            decision on it stands.
        BudgetError: the test set has decided about more candidates than it can.
    """
    if standing.champion == decision["candidate"]:
        return "done"
    if decision["verdict"] != "pass":
        return "keep"
    if standing.denial(decision["candidate"], decision["recipe"]):
        return "denied"
    _hold_to_now(decision, standing)
    _hold_to_budget(decision, standing, how)
    if how.policy == "manual" and now >= standing.approved_until.get(digest_json(decision), ""):
        return "wait"
    return "promote"


def _hold_to_now(decision: Mapping[str, Any], standing: Standing) -> None:
    what = f"the decision on candidate {decision['candidate'][:12]}"
    for role, words in (("champion", "champion"), ("best", "best ever")):
        then, present = decision[role], getattr(standing, role)
        if then != present:
            cause = f"compared it with {words} {short(then)}, but the {words} is {short(present)} now"
            raise StaleDecisionError(what, cause, "Run `make repro`: it compares with the present one")
    if standing.decisions.get(decision["candidate"]) != digest_json(decision):
        raise StaleDecisionError(what, "is not the latest one on it", "Run `make repro`, which decides anew")


def budget(decision: Mapping[str, Any], standing: Standing, how: Settings) -> tuple[int, int]:
    """About how many candidates the decision's test set has decided, and about how many it may: one at least."""
    spent = len(standing.judged_on.get(decision["test"]["digest"], ()))
    return spent, max(1, how.test_budget or decision["test"]["supports"])


def _hold_to_budget(decision: Mapping[str, Any], standing: Standing, how: Settings) -> None:
    spent, allowed = budget(decision, standing, how)
    if spent > allowed:
        test = f"the test set {decision['test']['digest'][:12]}"
        cause = f"has decided about {spent} candidates, and {allowed} are all that it can without being fitted to"
        raise BudgetError(test, cause, f"{_REFRESH}; nothing was promoted")


def _warn_of_budget(decision: Mapping[str, Any], standing: Standing, how: Settings) -> None:
    spent, allowed = budget(decision, standing, how)
    if allowed > 1 and spent >= _WARN_FROM * allowed:
        test = f"the test set {decision['test']['digest'][:12]}"
        print(f"promote: {test} has decided about {spent} of the {allowed} candidates that it can. {_REFRESH}")


_REFRESH = (
    "Refresh it by taking in newly labelled rows, whose share for testing makes it another one "
    "(not by another split.salt: that tests the champion on rows it was trained on)"
)


def promote(root: Path) -> Intent:
    """Takes in the decision of a checkout and ends with the registry as it says, or says why not.

    Returns:
        `promote` where the champion changed, `keep` where the verdict forbids it, `denied` where a person does,
        `wait` where one has to approve it, `done` where it was so already.

    Raises:
        DataError: there is no decision.
        PackageError: the candidate or a file of evidence is not the one that was judged.
        StaleDecisionError: the champion changed since.
        BudgetError: the test set has decided about too many candidates.
        RegistryError: the served candidate does not answer as it was evaluated.
    """
    how, decision = settings.read(root), read_decision(root)
    with registry.locked("promote"):
        with registry.locked():
            reconciling.begin(how.uri(), decision["task"])
            reconciling.reconcile(how.uri(), decision["task"], strict=False)  # whatever is wrong with this candidate
        return settle(how, decision, new=_take_in(root, decision))


def settle(how: Settings, decision: Mapping[str, Any], *, new: bool) -> Intent:
    """Ends with the registry as a decision says that was taken in; it needs no checkout, only `var/`.

    The lock `promote` is held by the caller. That of the registry is held here, but not while the candidate proves
    itself in service: what stands is looked at again afterwards.
    """
    uri, task = how.uri(), decision["task"]
    with registry.locked():
        standing = reconciling.reconcile(uri, task)
    if new:
        _warn_of_budget(decision, standing, how)
    what = intent(decision, standing, how, now=log.now())
    if what == "promote":
        folder = dossier.folder_of(digest_json(decision))
        dossier.check(folder, decision, what=str(folder))
        admission.prove_in_service(package_store.checked(decision["candidate"]), read_json(folder / "golden.json"), how)
        with registry.locked():
            what = intent(decision, reconciling.reconcile(uri, task), how, now=log.now())
            if what == "promote":
                _crown(decision, folder)
                reconciling.reconcile(uri, task)
    idle = not new and what != "promote"
    print(f"promote: {'nothing to do (' if idle else ''}{outcome(decision, standing, what)}{')' if idle else ''}")
    return what


def _crown(decision: Mapping[str, Any], folder: Path) -> None:
    log.append_once(
        decision["task"], "promoted", decision=digest_json(decision), candidate=decision["candidate"],
        previous=decision["champion"], recipe=decision["recipe"], best=is_best_ever(folder), why=decision["reasons"],
    )  # fmt: skip


def _take_in(root: Path, decision: Mapping[str, Any]) -> bool:
    """Keeps candidate, evidence and tree of a decision in `var/` and notes that it was judged; whether it was new."""
    digest = digest_json(decision)
    known = any(entry.get("decision") == digest for entry in log.entries(decision["task"]))
    if known and dossier.folder_of(digest).exists() and package_store.folder_of(decision["candidate"]).exists():
        package_store.checked(decision["candidate"])
        return False
    admission.check_run(root, decision)
    admission.check_candidate(root, decision)
    dossier.check(root / "data", decision, what="data")
    package_store.store(root / "data" / "candidate", decision["candidate"])
    made = trees.keep(root, digest)
    dossier.keep(root, decision, made, admission.pages(root, made))
    _push(root)  # the evidence is safe before anything follows from it
    log.append_once(
        decision["task"], "judged", decision=digest, candidate=decision["candidate"], recipe=decision["recipe"],
        test=decision["test"]["digest"], verdict=decision["verdict"], why=decision["reasons"],
    )  # fmt: skip
    return True


def is_best_ever(folder: Path) -> bool:
    """Whether the candidate's accuracy on test is at least that of the best ever, or there is none to compare.

    Args:
        folder: holds `evaluation.json`.
    """
    evaluation = read_json(folder / "evaluation.json", "paired", "same_as")
    best = evaluation["paired"].get(evaluation["same_as"].get("best", "best"))
    return best is None or best["accuracy"]["value"] >= 0


def _push(root: Path) -> None:
    from tidegate.reproduction import push

    if (sent := push(root)) is not None:
        print(f"promote: {sent:,} files sent to the DVC remote")


def outcome(decision: Mapping[str, Any], standing: Standing, what: Intent) -> str:
    """What became of a decision, for a person."""
    candidate = decision["candidate"][:12]
    words: dict[Intent, Callable[[], str]] = {
        "promote": lambda: f"{candidate} is the champion now (before: {short(decision['champion'])})",
        "wait": lambda: (
            f"{candidate} passed and waits: `python -m tidegate approve {candidate} --by NAME`, or reject it"
        ),
        "denied": lambda: (
            f"{candidate} may not replace the champion: {standing.denial(decision['candidate'], decision['recipe'])}"
        ),
        "keep": lambda: f"{candidate} stays a challenger, the verdict is {decision['verdict']}",
        "done": lambda: f"{candidate} is the champion",
    }
    return words[what]()


def short(digest: str | None) -> str:
    """The beginning of a digest, for a person."""
    return digest[:12] if digest else "none"
