"""What a person may say about a candidate: approve, reject, roll back. The gate is above them: nobody approves a fail.

Each is an entry in the log, written before anything follows from it; the registry is then made to agree.
"""

import time
from pathlib import Path

from tidegate import package_store, registry
from tidegate.errors import RegistryError
from tidegate.files import digest_json
from tidegate.registry_state import State
from tidegate.release import dossier, log, promotion, reconciling, settings, standing
from tidegate.release.promotion import Intent, short
from tidegate.release.standing import Standing

_SHORTEST = 8
"""Characters of a digest that a person has to give at least."""


def approve(root: Path, digest: str, *, by: str, why: str) -> Intent:
    """Lets a candidate that passed become champion under the policy `manual`, and makes it so.

    The approval is one of the latest decision on exactly this candidate, and expires. It needs no checkout of the
    run: what it needs was kept when the decision was taken in.

    Args:
        digest: of the candidate, or its beginning.

    Raises:
        RegistryError: no such candidate was judged, it did not pass, or it is denied; or, by its kinds, it was compared
            with another champion, or its test set is used up.
    """
    how, task = settings.read(root), settings.task_of(root)
    _check_name(by)
    with registry.locked("promote"):
        now = standing.of(log.entries(task))
        candidate = _judged(now, digest, task)
        decision = dossier.read(now.decisions[candidate])
        what = f"candidate {candidate[:12]}"
        if decision["verdict"] != "pass":
            cause = f"cannot be approved: the verdict is {decision['verdict']}"
            raise RegistryError(what, cause, f"{'; '.join(decision['reasons'])}. Only what passes the gate is promoted")
        if denial := now.denial(candidate, decision["recipe"]):
            remedy = "Change data, params or code, and run `make repro`"
            raise RegistryError(what, f"cannot be approved: it, or its recipe, was {denial}", remedy)
        promotion.intent(decision, now, how, now=log.now())  # what cannot follow now is not approved for later
        until = log.at(time.time() + 3600 * how.approval_hours)
        with registry.locked():
            log.append(
                task, "approved", candidate=candidate, decision=digest_json(decision), until=until, by=by, why=[why]
            )  # fmt: skip
        return promotion.settle(how, decision, new=True)


def reject(root: Path, digest: str, *, by: str, why: str) -> None:
    """Denies a candidate and its recipe: neither becomes champion any more.

    Raises:
        RegistryError: no such candidate was judged, or it is the champion.
    """
    how, task = settings.read(root), settings.task_of(root)
    _check_name(by)
    with registry.locked():
        now = standing.of(log.entries(task))
        candidate = _judged(now, digest, task)
        if candidate == now.champion:
            remedy = "Use `python -m tidegate rollback`, which puts another one in its place"
            raise RegistryError(f"candidate {candidate[:12]}", "is the champion", remedy)
        log.append(task, "rejected", candidate=candidate, by=by, why=[why])
        reconciling.reconcile(how.uri(), task)
    print(f"reject: {candidate[:12]} and what comes of its recipe will not become champion")


def rollback(root: Path, *, to: int | None, by: str, why: str) -> str:
    """Puts an earlier champion back, and denies the present one and its recipe.

    A rollback that was killed before the alias moved is finished, not done twice.

    Args:
        to: a version that was champion once; the champion before the present one where none is named.

    Returns:
        The digest of the champion now.

    Raises:
        RegistryError: there is no such champion to go back to.
        PackageError: its package is damaged.
    """
    uri, task = settings.read(root).uri(), settings.task_of(root)
    _check_name(by)
    with registry.locked():
        reconciling.begin(uri, task)
        state, last = registry.read(uri, task), list(log.entries(task))[-1:]
        now = standing.of(log.entries(task))
        if _is_unfinished(last, state) and to in (None, _number(state, now.champion)):
            demoted, target = last[0]["candidate"], last[0]["to"]
        else:
            demoted, target = _exchange(now, state, to, task)
            log.append(task, "rolled_back", candidate=demoted, to=target, by=by, why=[why])
        reconciling.reconcile(uri, task)
    print(f"rollback: {short(target)} is the champion of {task}; {short(demoted)} and its recipe are denied")
    return str(target)


def _is_unfinished(last: list[log.Entry], state: State) -> bool:
    """Whether the last entry is a rollback that the alias does not follow yet: it still names who was taken back."""
    champion = state.alias("champion")
    return bool(
        last and last[0]["event"] == "rolled_back" and champion and champion.digest == last[0]["candidate"]
    )  # fmt: skip


def _number(state: State, digest: str | None) -> int | None:
    version = state.of_digest(digest) if digest else None
    return version.number if version else None


def _exchange(now: Standing, state: State, to: int | None, task: str) -> tuple[str, str]:
    """Who is taken back, and who takes its place."""
    target = _target(now, state, to, task)
    if target is None or now.champion is None:
        cause = "has no earlier champion to go back to"
        raise RegistryError(f"task {task!r}", cause, "Name one with --to; `python -m tidegate status` lists them")
    package_store.checked(target)
    return now.champion, target


def _target(now: Standing, state: State, to: int | None, task: str) -> str | None:
    if to is None:
        return now.before()
    version = state.versions.get(to)
    what = f"version {to} of {task!r}"
    if version is None or version.digest is None:
        known = ", ".join(map(str, sorted(state.versions))) or "none"
        raise RegistryError(what, "is not in the registry", f"Name one of: {known}")
    if version.digest not in now.champions:
        raise RegistryError(what, "was never champion", "A new champion has to pass the gate: run `make repro`")
    if version.digest == now.champion:
        raise RegistryError(what, "is the champion already", "There is nothing to roll back")
    return version.digest


def _check_name(by: str) -> None:
    if not by.strip():
        raise RegistryError("--by", "names nobody", "Say who says so: it stands in the log")


def _judged(now: Standing, digest: str, task: str) -> str:
    """The judged candidate that a person means.

    Raises:
        RegistryError: there is none, or more than one.
    """
    found = [known for known in now.decisions if known.startswith(digest.lower())]
    if len(digest) >= _SHORTEST and len(found) == 1:
        return found[0]
    latest = ", ".join(known[:12] for known in list(now.decisions)[-3:]) or "none"
    cause = "names no candidate that was judged" if not found else "names more than one candidate"
    if len(digest) < _SHORTEST:
        cause = f"is shorter than {_SHORTEST} characters"
    raise RegistryError(f"digest {digest!r}", cause, f"Name one of task {task!r}; the latest: {latest}")
