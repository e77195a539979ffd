"""A training that an alarm started: in a worktree of its own, from the tree that made the champion, through the gate.

Whether it may start, and what becomes of the alarm, is for `monitoring`; who wins is for the gate and the log.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tidegate.errors import RegistryError
from tidegate.files import read_json
from tidegate.release import dossier, reconciling, settings, worktrees


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a retraining."""

    branch: str
    """Holds the params it ran with, its pins, and its `dvc.lock`."""
    ended: bool
    """Whether the run came to its end; where not, its output says why."""
    verdict: str | None
    candidate: str | None
    """Its digest."""
    promoted: bool
    """Whether its candidate is the champion now."""

    @property
    def words(self) -> str:
        """For a person."""
        if not self.ended:
            return f"did not come to its end; branch {self.branch}"
        place = "is the champion now" if self.promoted else "did not become champion"
        return f"{str(self.candidate)[:12]} {place}, the verdict is {self.verdict}; branch {self.branch}"


def retrain(root: Path, name: str, *, overlay: Mapping[str, Any]) -> Outcome:
    """Trains anew as the champion was trained, with the feedback of now; promotes what the gate lets through.

    Args:
        root: the clone; its tree and branch stay as they are.
        name: of the run; a new one.
        overlay: params of this run, by section, such as the gate's mode.

    Raises:
        RegistryError: there is no champion, or its tree is not kept.
    """
    task = settings.task_of(root)
    with worktrees.checked_out(root, name, at=tree_of_champion(root, task)) as folder:
        worktrees.set_params(folder, yaml.safe_dump(dict(overlay)))
        code = worktrees.run(folder, "repro")
        decision = read_json(folder / "data" / "decision.json") if code == 0 else None
        message = f"Retrain {name}\n\n{decision['verdict'] if decision else 'It did not come to its end'}"
        worktrees.commit(folder, message)
    champion = reconciling.standing_of(settings.read(root).uri(), task).champion
    return Outcome(
        branch=worktrees.branch(name), ended=decision is not None, verdict=decision and decision["verdict"],
        candidate=decision and decision["candidate"],
        promoted=decision is not None and decision["candidate"] == champion,
    )  # fmt: skip


def tree_of_champion(root: Path, task: str) -> str:
    """The commit that holds the tree which the champion of a task was made from.

    Raises:
        RegistryError: there is none.
    """
    standing = reconciling.standing_of(settings.read(root).uri(), task)
    decision = standing.decisions.get(standing.champion or "")
    made = dossier.folder_of(decision) / "made.json" if decision else None
    tree = read_json(made, "tree")["tree"] if made and made.exists() else None
    if tree is None or subprocess.run(["git", "cat-file", "-e", tree], cwd=root, check=False).returncode:
        remedy = "Run `make repro` once: it keeps the tree of what it promotes"
        raise RegistryError(f"the champion of {task!r}", "has no tree that is kept", remedy)
    return str(tree)
