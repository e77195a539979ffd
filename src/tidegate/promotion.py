"""Takes the decision out: reconciles the registry, the package store and the promotion log with `decision.json`.

Every step may be repeated and ends in the same state, so a run killed anywhere is mended by the next.
What the gate thinks is not questioned here; that the evidence is what was judged, is.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tidegate import package_store, params, promotion_log, recording, registry
from tidegate.errors import PackageError, ParamsError, RegistryError, StaleDecisionError
from tidegate.files import digest_folder, digest_json, read_json, sha256
from tidegate.params import Range
from tidegate.registry_state import DECISION, State

Intent = Literal["promote", "keep", "done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Section `promote` of `params.yaml`."""

    tracking_uri: str | None
    """MLflow's tracking and registry URI; null is SQLite in `var/`."""
    golden_tolerance: Annotated[float, Range(ge=0, lt=1)]
    """Largest difference of a probability between the served package and `evaluate`."""
    start_timeout_s: Annotated[float, Range(gt=0)]
    """Seconds that the service may take until it is ready for the golden requests."""

    def uri(self) -> str:
        """The registry in use; `MLFLOW_TRACKING_URI` goes before the default."""
        return self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or registry.default_uri()


def read_settings(root: Path) -> Settings:
    """Section `promote`, bound.

    Raises:
        ParamsError: the section does not fit.
    """
    return params.bind(Settings, params.load(root / "params.yaml").get("promote"), section="promote")


def task_of(root: Path) -> str:
    """The task that `params.yaml` names.

    Raises:
        ParamsError: it names none.
    """
    section = params.load(root / "params.yaml").get("ingest")
    task = section.get("task") if isinstance(section, Mapping) else None
    if not isinstance(task, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", task):
        raise ParamsError(
            "params.yaml", [f"ingest.task: must be letters, digits, hyphens and underscores, is {task!r}"]
        )
    return task


def read_decision(root: Path) -> dict[str, Any]:
    """What the gate decided last.

    Raises:
        DataError: it is missing or damaged.
    """
    keys = ("task", "verdict", "reasons", "candidate", "champion")
    return dict(read_json(root / "data" / "decision.json", *keys))


def read_evaluation(root: Path) -> dict[str, Any]:
    """What was measured on test last.

    Raises:
        DataError: it is missing or damaged.
    """
    return dict(read_json(root / "data" / "evaluation.json", "models", "paired"))


def intent(decision: Mapping[str, Any], champion: str | None) -> Intent:
    """What has to become of a decision, given the digest of the champion now.

    Raises:
        StaleDecisionError: the candidate passed against another champion than the present one.
    """
    if champion == decision["candidate"]:
        return "done"
    if decision["verdict"] != "pass":
        return "keep"
    if champion != decision["champion"]:
        raise StaleDecisionError(
            f"the decision on candidate {decision['candidate'][:12]}",
            f"compared it with champion {_short(decision['champion'])}, but the champion is {_short(champion)} now",
            "Run `make repro`: it compares with the present one",
        )
    return "promote"


def promote(root: Path) -> Intent:
    """Ends with the registry as the decision says, or says why not and changes nothing.

    Returns:
        `promote` where the champion changed, `keep` where the verdict forbids it, `done` where it was so already.

    Raises:
        DataError: there is no decision.
        PackageError: the candidate or a file of evidence is not the one that was judged.
        StaleDecisionError: the champion changed since.
        RegistryError: the served candidate does not answer as it was evaluated.
    """
    settings, decision = read_settings(root), read_decision(root)
    with registry.locked():
        state = registry.read(settings.uri(), decision["task"])
        champion = state.alias("champion")
        what = intent(decision, champion.digest if champion else None)
        if _is_settled(state, decision, what):
            print(f"promote: nothing to do ({_outcome(decision, what)})")
            return what
        check_evidence(root, decision)
        package = package_store.store(root / "data" / "candidate", decision["candidate"])
        if what == "promote":
            prove_in_service(package, read_json(root / "data" / "golden.json"), settings)
        number = recording.record(root, settings.uri(), decision, package)
        _push(root)  # the evidence is safe before the champion changes
        _point_aliases(settings, state, decision, number, best=is_best_ever(root))
        if _won(decision):
            promotion_log.append(decision, number)
    print(f"promote: {_outcome(decision, what)}, version {number} of {decision['task']}")
    return what


def _won(decision: Mapping[str, Any]) -> bool:
    """Whether the decision makes its candidate the champion; one that judged the champion itself does not."""
    return bool(decision["verdict"] == "pass" and decision["champion"] != decision["candidate"])


def _is_settled(state: State, decision: Mapping[str, Any], what: Intent) -> bool:
    """Whether a finished promote of this very decision stands in the registry, the store and the log."""
    version = state.of_digest(decision["candidate"])
    return (
        what != "promote"
        and version is not None
        and version.tags.get(DECISION) == digest_json(decision)
        and (what == "keep") == (state.alias("challenger") == version)
        and (not _won(decision) or promotion_log.holds(decision))
        and (package_store.folder_of(decision["candidate"]) / "package.json").exists()
    )


def check_evidence(root: Path, decision: Mapping[str, Any]) -> None:
    """The candidate and every file that the gate judged still have the digests that the decision names.

    Raises:
        PackageError: names the first that has not.
    """
    remedy = "Run `dvc repro`, which restores or judges it anew"
    candidate = digest_folder(root / "data" / "candidate")
    if candidate != decision["candidate"]:
        cause = f"has digest {candidate[:12]}, the decision is about {decision['candidate'][:12]}"
        raise PackageError("data/candidate", cause, remedy)
    for name, digest in decision["evidence"].items():
        if _digest(root / "data" / name) != digest:
            raise PackageError(f"data/{name}", "is not the file that the gate judged", remedy)


def _digest(path: Path) -> str | None:
    if path.is_dir():
        return digest_folder(path)
    return sha256(path) if path.exists() else None


def prove_in_service(package: Path, golden: list[dict[str, Any]], settings: Settings) -> None:
    """Serves a package in a fresh process and asks it over HTTP what `evaluate` asked it.

    Raises:
        RegistryError: it does not start, or answers otherwise.
    """
    from tidegate.serving.golden import largest_difference

    difference = largest_difference(package, golden, start_timeout_s=settings.start_timeout_s)
    if not difference <= settings.golden_tolerance:
        cause = f"served over HTTP, differs from evaluate by up to {difference:.2g} in a probability"
        remedy = "Compare the runtimes (`python -m tidegate serve data/candidate`); nothing was promoted"
        raise RegistryError(f"candidate {package.name[:12]}", cause, remedy)
    print(f"promote: {len(golden)} golden requests over HTTP answered as evaluated (difference {difference:.1g})")


def is_best_ever(root: Path) -> bool:
    """Whether the candidate's accuracy on test is at least that of the best ever, or there is none to compare."""
    evaluation = read_evaluation(root)
    best = evaluation["paired"].get(evaluation["same_as"].get("best", "best"))
    return best is None or best["accuracy"]["value"] >= 0


def _point_aliases(settings: Settings, state: State, decision: Mapping[str, Any], number: int, *, best: bool) -> None:
    """Sets each alias that is not right yet; the champion last, since the others follow from it."""
    writer = registry.Registry(settings.uri(), decision["task"])
    champion = state.alias("champion")
    if not _won(decision):
        if champion is None or champion.number != number:
            writer.set_alias("challenger", number)
        return
    if state.aliases.get("challenger") == number:
        writer.drop_alias("challenger")
    if best:
        writer.set_alias("best", number)
    if champion is None or champion.number != number:
        writer.set_alias("champion", number)


def _push(root: Path) -> None:
    from tidegate.reproduction import push

    if (sent := push(root)) is not None:
        print(f"promote: {sent:,} files sent to the DVC remote")


def _outcome(decision: Mapping[str, Any], what: Intent) -> str:
    candidate = decision["candidate"][:12]
    words: dict[Intent, Callable[[], str]] = {
        "promote": lambda: f"{candidate} is the champion now (before: {_short(decision['champion'])})",
        "keep": lambda: f"{candidate} stays a challenger, the verdict is {decision['verdict']}",
        "done": lambda: f"{candidate} is the champion",
    }
    return words[what]()


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "none"
