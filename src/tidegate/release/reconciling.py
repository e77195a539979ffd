"""Makes the registry agree with the log of a task: versions, runs and aliases that are missing or wrong.

What stands in the log is decided elsewhere, and nothing is decided here.
"""

from collections.abc import Iterator

from tidegate import package_store, registry
from tidegate.errors import RegistryError, TidegateError
from tidegate.registry_state import DECISION, State
from tidegate.release import dossier, log, recording, standing
from tidegate.release.standing import Standing


def standing_of(uri: str, task: str) -> Standing:
    """Where a task stands: by its log, or, where that is empty, by the aliases of its registry."""
    known = standing.of(log.entries(task))
    return known if known.decisions or known.champion else standing.of(_found(registry.read(uri, task)))


def begin(uri: str, task: str) -> None:
    """Begins a log that is empty, or was lost, with what the aliases say. The caller holds the registry's lock."""
    if not any(True for _ in log.entries(task)):
        for entry in _found(registry.read(uri, task)):
            log.append(task, **entry)


def reconcile(uri: str, task: str, *, strict: bool = True) -> Standing:
    """Registers what was judged and is not registered, and points every alias where the log says.

    What is missing or damaged of one candidate stands in the way of no other one's alias. The caller holds the
    registry's lock.

    Args:
        strict: whether what could not be put right is raised, once all else is.

    Raises:
        RegistryError, PackageError: what could not be put right.
    """
    now, state, problems = standing.of(log.entries(task)), registry.read(uri, task), list[TidegateError]()
    if _register(uri, now, state, problems):
        state = registry.read(uri, task)
    _point(uri, task, now, state, problems)
    if problems and strict:
        raise problems[0]
    return now


def _found(state: State) -> Iterator[log.Entry]:
    """What the aliases champion and best say, as entries of a log."""
    why = ["the log was empty, and the registry had it"]
    for version in sorted(state.versions.values(), key=lambda version: version.number):
        aliases = [alias for alias in ("best", "champion") if state.aliases.get(alias) == version.number]
        if version.digest and aliases:
            yield {"event": "found", "candidate": version.digest, "aliases": aliases, "why": why}


def _register(uri: str, now: Standing, state: State, problems: list[TidegateError]) -> bool:
    """Whether anything was registered. What is in neither store is left out: `_point` says so where it matters."""
    changed = False
    for candidate, decision in now.decisions.items():
        version = state.of_digest(candidate)
        if version is not None and version.tags.get(DECISION) == decision:
            continue
        folder = dossier.folder_of(decision)
        if not (folder.is_dir() and package_store.folder_of(candidate).is_dir()):
            continue
        try:
            content, package = dossier.read(decision), package_store.checked(candidate)
            dossier.check(folder, content, what=str(folder))
            recording.record(uri, content, folder, package)
            changed = True
        except TidegateError as error:
            problems.append(error)
    return changed


def _point(uri: str, task: str, now: Standing, state: State, problems: list[TidegateError]) -> None:
    """Sets each alias that is not right yet; the champion last, since a service follows it."""
    for alias, digest in (("challenger", now.challenger), ("best", now.best), ("champion", now.champion)):
        version = state.of_digest(digest) if digest else None
        if digest and version is None:
            remedy = "Restore var/packages and var/decisions from a backup"
            problems.append(RegistryError(f"the {alias} of {task}, {digest[:12]}", "is registered nowhere", remedy))
        elif version is None and alias in state.aliases:
            registry.Registry(uri, task).drop_alias(alias)
        elif version is not None and state.aliases.get(alias) != version.number:
            registry.Registry(uri, task).set_alias(alias, version.number)
