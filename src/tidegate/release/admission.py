"""What has to hold before a decision is taken in, and before its candidate goes into service; and its model card.

Each refuses by name. Whether a candidate wins is for the gate, and when for `promotion`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegate import params, pipeline
from tidegate.errors import PackageError, RegistryError, StaleDecisionError
from tidegate.files import digest_folder
from tidegate.release import settings
from tidegate.release.settings import Settings


def check_run(root: Path, decision: Mapping[str, Any]) -> None:
    """The decision is what the gate wrote in the run that `dvc.lock` tells of, and its tree is still the one that ran.

    Raises:
        StaleDecisionError: it is of another task, was not written by the gate, or code or params changed since.
    """
    what, remedy = "data/decision.json", "Run `make repro`, which decides anew"
    if decision["task"] != (task := settings.task_of(root)):
        raise StaleDecisionError(what, f"is about task {decision['task']!r}, params.yaml names {task!r}", remedy)
    outs = pipeline.read_lock(root).get("gate", {}).get("outs", ())
    written = {out["path"].rpartition("/")[2]: out["md5"] for out in outs}
    if written.get("decision.json") != pipeline.md5(root / "data" / "decision.json"):
        raise StaleDecisionError(what, "is not what the gate wrote in the run that dvc.lock tells of", remedy)
    if changed := pipeline.changed_since(root):
        cause = f"comes from a tree that has changed since it ran: {', '.join(changed[:5])}"
        raise StaleDecisionError(what, cause, "Put that back, or run `make repro`: what is promoted can be run again")


def check_candidate(root: Path, decision: Mapping[str, Any]) -> None:
    """The candidate is the one that was judged.

    Raises:
        PackageError: it is another one.
    """
    found = digest_folder(root / "data" / "candidate")
    if found != decision["candidate"]:
        cause = f"has digest {found[:12]}, the decision is about {decision['candidate'][:12]}"
        raise PackageError("data/candidate", cause, "Run `dvc repro`, which restores or judges it anew")


def prove_in_service(package: Path, golden: list[dict[str, Any]], how: Settings) -> None:
    """Serves a package in a fresh process and asks it over HTTP what `evaluate` asked it.

    Raises:
        RegistryError: it does not start, or answers otherwise.
    """
    from tidegate.serving.golden import largest_difference

    difference = largest_difference(package, golden, start_timeout_s=how.start_timeout_s)
    if not difference <= how.golden_tolerance:
        cause = f"served over HTTP, differs from evaluate by up to {difference:.2g} in a probability"
        remedy = "Compare the runtimes (`python -m tidegate serve data/candidate`); nothing was promoted"
        raise RegistryError(f"candidate {package.name[:12]}", cause, remedy)
    print(f"promote: {len(golden)} golden requests over HTTP answered as evaluated (difference {difference:.1g})")


def pages(root: Path, made: Mapping[str, str]) -> dict[str, str]:
    """The model card of what a checkout holds, as Markdown and as a page, by the names of their files.

    Args:
        made: as `trees.keep` has it.
    """
    from tidegate.card import document, page

    changed = " with changes that no commit holds" if made["dirty"] == "true" else ""
    about = {"Revision": f"{made['revision']}{changed}", "Tree that was run": made["tree"]}
    card = document.markdown(root / "data", params=params.load(root / "params.yaml"), about=about)
    return {"card.md": card, "card.html": page.html(card)}
