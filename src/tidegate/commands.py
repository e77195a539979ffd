"""What the user's commands do, in the order they do it; each step lives elsewhere."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate import registry
from tidegate.binding import check
from tidegate.errors import RegistryError
from tidegate.files import digest_json
from tidegate.registry_state import State
from tidegate.release import dossier, promotion, reconciling, settings
from tidegate.release.promotion import short
from tidegate.release.standing import Standing
from tidegate.report import result_table
from tidegate.serving import settings as serving

if TYPE_CHECKING:
    from tidegate.serving.prediction_log import PredictionLog


def repro(root: Path) -> None:
    """Sync, `dvc repro`, promote, and the result table."""
    from tidegate.reproduction import owning, reproduce
    from tidegate.sync import sync

    check(root)
    with owning(root, "make repro"):
        sync(root)
        show_live_curves(root)
        ran = reproduce(root)
        print(f"dvc repro: {', '.join(ran) if ran else 'nothing to do'}")
        promotion.promote(root)
    print_result(root)


def show_live_curves(root: Path) -> None:
    """Lets the training that DVC starts below this process log its curves to MLflow while it runs."""
    os.environ |= {"TIDEGATE_LIVE": "tidegate.registry:live", "TIDEGATE_LIVE_URI": settings.read(root).uri()}


def print_result(root: Path) -> None:
    """The result table of the last evaluation and the verdict."""
    print("\n" + result_table(promotion.read_evaluation(root), promotion.read_decision(root)))


def status(root: Path) -> None:
    """What is in service, what was decided last, and what is stale."""
    from tidegate.reproduction import stale

    check(root)
    task, how = settings.task_of(root), settings.read(root)
    standing, state = reconciling.standing_of(how.uri(), task), registry.read(how.uri(), task)
    print(f"task       {task}, policy {how.policy}")
    for alias in ("champion", "challenger", "best"):
        print(f"{alias:<10} {_version(state, getattr(standing, alias), alias)}")
    earlier = [version.number for digest in standing.champions[:-1] if (version := state.of_digest(digest))]
    if earlier:
        print(f"before     version {', '.join(map(str, earlier))}")
    if card := _card(standing):
        print(f"card       {card}")
    for digest, words in standing.denied.items():
        print(f"denied     {digest[:12]}: {words}")
    if (root / "data" / "decision.json").exists():
        decision = promotion.read_decision(root)
        print(f"decision   {decision['verdict']} on {decision['candidate'][:12]}: {'; '.join(decision['reasons'])}")
        if decision["task"] != task:
            print(f"           (it is about task {decision['task']!r}: run `make repro`)")
        spent, allowed = promotion.budget(decision, standing, how)
        print(f"test set   {decision['test']['digest'][:12]} decided about {spent} of the {allowed} candidates it can")
        if how.policy == "manual" and (until := standing.approved_until.get(digest_json(decision))):
            print(f"approved   until {until}")
    else:
        print("decision   none yet: run `make repro`")
    print(f"stale      {', '.join(stale(root)) or 'nothing'}")


def _card(standing: Standing) -> Path | None:
    """The model card of the champion."""
    decision = standing.decisions.get(standing.champion or "")
    page = dossier.folder_of(decision) / "card.html" if decision else None
    return page if page and page.exists() else None


def _version(state: State, digest: str | None, alias: str) -> str:
    """What stands behind an alias by the log, and whether the registry has it so."""
    if digest is None:
        return "none"
    version, pointed = state.of_digest(digest), state.alias(alias)
    told = f"version {version.number if version else '?'}, {short(digest)}"
    if pointed is not None and pointed.digest == digest:
        return told
    return f"{told} (the registry's alias is elsewhere: `python -m tidegate promote` mends it)"


def serve(root: Path, folder: Path | None, *, host: str, port: int) -> None:
    """Serves the champion of the task, or one package as it is.

    Raises:
        RegistryError: no package is named and the task has no champion.
    """
    from tidegate.serving import server

    if folder is None:
        server.serve_champion(root, serving.read(root), host=host, port=port)
    else:
        server.serve_package(folder, serving.read(root), host=host, port=port)


def sample(root: Path, target: Path, rows: int) -> None:
    """Writes answers of the service that want a true label."""
    from tidegate.serving import labels

    with _log(root) as log:
        found = labels.sample(log, target, rows)
    print(f"sample: {found['audit']:,} rows of the audit sample and {found['uncertain']:,} uncertain ones: {target}")
    print("sample: fill in the column `label` and give the file to `python -m tidegate feedback`")


def feedback(root: Path, source: Path, *, by: str) -> None:
    """Takes in the true labels of a file.

    Raises:
        DataError: some rows were left out.
    """
    from tidegate.serving import labels

    known = labels.known_labels(champion_digest(root))
    with _log(root) as log:
        print(f"feedback: {labels.take_in(log, source, known, by=by):,} labels taken in")


def _log(root: Path) -> "PredictionLog":
    from tidegate.serving.prediction_log import PredictionLog

    return PredictionLog(settings.task_of(root), serving.read(root).log_uri)


def champion_digest(root: Path) -> str:
    """The digest of the champion of the task that `params.yaml` names.

    Raises:
        RegistryError: there is none.
    """
    task = settings.task_of(root)
    champion = reconciling.standing_of(settings.read(root).uri(), task).champion
    if champion is None:
        raise RegistryError(f"task {task!r}", "has no champion", "Run `make repro`, or name a package folder")
    return champion
