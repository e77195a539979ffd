"""A retraining starts from the tree that made the champion, on a branch of its own, and reports what became of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tidegate.errors import RegistryError
from tidegate.release import retraining, worktrees

RECOVER = {"ingest": {"task": "channels"}}


@pytest.fixture
def trained(world: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A world whose champion was made from a tree that holds a file which is gone since."""
    (world.root / "model.py").write_text("of the champion")
    (world.digest,) = world.crowned("c1")
    (world.root / "model.py").write_text("of somebody who works on it")
    world.folders = []

    def run(folder: Path, *words: str) -> int:
        assert words == ("repro",)
        world.folders.append(folder)
        assert (folder / "model.py").read_text() == "of the champion"
        (folder / "data" / "decision.json").write_text(json.dumps(world.made))
        return 0

    monkeypatch.setattr(worktrees, "run", run)
    return world


@pytest.mark.parametrize(("candidate", "promoted"), [("the champion", True), ("f" * 64, False)])
def test_it_runs_the_tree_of_the_champion_and_says_what_became_of_it(
    trained: Any, git: Any, candidate: str, *, promoted: bool
) -> None:
    candidate = trained.digest if candidate == "the champion" else candidate
    trained.made = {"verdict": "pass", "candidate": candidate}
    outcome = retraining.retrain(trained.root, "r1", overlay=RECOVER)
    assert (outcome.verdict, outcome.candidate, outcome.promoted, outcome.ended) == ("pass", candidate, promoted, True)
    assert git(trained.root, "log", "-1", "--format=%s", outcome.branch) == "Retrain r1"
    assert (trained.root / "model.py").read_text() == "of somebody who works on it"
    assert not trained.folders[0].exists()


def test_a_run_that_ends_early_is_told(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worktrees, "run", lambda *_: 2)
    outcome = retraining.retrain(trained.root, "r1", overlay=RECOVER)
    assert (outcome.ended, outcome.promoted, outcome.verdict) == (False, False, None)
    assert "did not come to its end" in outcome.words


def test_without_a_champion_there_is_nothing_to_retrain(world: Any) -> None:
    with pytest.raises(RegistryError, match="has no tree that is kept"):
        retraining.retrain(world.root, "r1", overlay=RECOVER)
