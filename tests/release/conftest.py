"""A checkout with a decision, and the world it would be taken to."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate import files, package_store, pipeline, registry
from tidegate.files import digest_folder, digest_json, read_json, write_json
from tidegate.release import admission, log, people, promotion, standing

PARAMS = """\
ingest: {task: channels}
promote:
  tracking_uri: null
  policy: auto
  approval_hours: 72
  test_budget: null
  golden_tolerance: 0.0001
  figure_tolerance: 0.001
  start_timeout_s: 60
"""
SERVE = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))["serve"]
PARAMS += yaml.safe_dump({"serve": SERVE})


@dataclass
class World:
    """A checkout with a decision, and the registry it would be taken to."""

    root: Path
    uri: str

    @property
    def data(self) -> Path:
        return self.root / "data"

    def decide(
        self,
        candidate: str = "c1",
        *,
        verdict: str = "pass",
        champion: str | None = None,
        test: str = "t",
        **others: Any,
    ) -> str:
        """Writes the files of a run that judged a candidate; gives the digest of the candidate."""
        shutil.rmtree(self.data, ignore_errors=True)
        (self.data / "candidate").mkdir(parents=True)
        (self.data / "candidate" / "package.json").write_text(json.dumps({"name": candidate}))
        (self.data / "predictions").mkdir()
        (self.data / "predictions" / "candidate.parquet").write_text(candidate)
        (self.data / "curves.csv").write_text("epoch,step,train_loss\n1,10,0.5\n")
        metric = {"value": 0.75, "low": 0.7, "high": 0.8}
        evaluation = {"models": {"candidate": {"accuracy": metric}}, "paired": others.pop("paired", {}), "same_as": {}}
        write_json(self.data / "evaluation.json", evaluation)
        write_json(self.data / "golden.json", [{"text": "good", "probabilities": [0.5, 0.5]}])
        digest = digest_folder(self.data / "candidate")
        decision = {
            "task": "channels", "verdict": verdict, "reasons": [f"{candidate} is judged"], "candidate": digest,
            "recipe": f"recipe of {candidate}", "champion": champion, "best": self.best(), "rules": [],
            "test": {"digest": test, "rows": 10, "groups": 5, "supports": others.pop("test_supports", 9)},
            "evidence": {
                "evaluation.json": files.sha256(self.data / "evaluation.json"),
                "predictions": digest_folder(self.data / "predictions"),
            },
        }  # fmt: skip
        self.rule({**decision, **others})
        return digest

    def rule(self, decision: dict[str, Any]) -> None:
        """Writes a decision as the gate does, in a run that `dvc.lock` tells of."""
        write_json(self.data / "decision.json", decision)
        out = {"path": "data/decision.json", "md5": pipeline.md5(self.data / "decision.json")}
        lock = yaml.safe_load(path.read_text()) if (path := self.root / "dvc.lock").exists() else {"stages": {}}
        lock["stages"]["gate"] = {"outs": [out]}
        path.write_text(yaml.safe_dump({"schema": "2.0", **lock}))

    def best(self, task: str = "channels") -> str | None:
        return standing.of(log.entries(task)).best

    def decision(self) -> str:
        """The digest of the decision that stands in the checkout."""
        return digest_json(read_json(self.data / "decision.json"))

    def promote(self) -> str:
        return promotion.promote(self.root)

    def crowned(self, *names: str) -> list[str]:
        """Promotes one candidate after the other; gives their digests."""
        digests: list[str] = []
        for name in names:
            digests.append(self.decide(name, champion=digests[-1] if digests else None))
            assert self.promote() == "promote"
        return digests

    def rollback(self, to: int | None = None) -> str:
        return people.rollback(self.root, to=to, by="ada", why="it is rude")

    def rollback_despite(self, error: type[Exception]) -> str:
        """A rollback that has something else to complain of and does its work all the same; the champion now."""
        with pytest.raises(error):
            self.rollback()
        return str(self.aliases()["champion"])

    def use_task(self, task: str) -> None:
        (self.root / "params.yaml").write_text(PARAMS.replace("task: channels", f"task: {task}"))

    def policy(self, policy: str) -> None:
        (self.root / "params.yaml").write_text(PARAMS.replace("policy: auto", f"policy: {policy}"))

    def aliases(self) -> dict[str, str | None]:
        state = registry.read(self.uri, "channels")
        return {alias: state.versions[number].digest for alias, number in state.aliases.items()}

    def log(self, *events: str) -> list[tuple[str, str]]:
        """The entries of some events; of promotions where none is named."""
        return [
            (entry["event"], entry["candidate"])
            for entry in log.entries("channels")
            if entry["event"] in (events or ("promoted",))
        ]

    def everything(self) -> Any:
        """What must be the same after any way that leads to the end; not the ids and times."""
        versions = registry.read(self.uri, "channels").versions
        packages = sorted(path.name for path in (package_store.folder_of("x").parent).glob("*"))
        events = [(entry["event"], entry["candidate"]) for entry in log.entries("channels")]
        return {n: dict(v.tags) for n, v in versions.items()}, self.aliases(), events, packages


@pytest.fixture
def world(repository: Callable[..., Path], empty_registry: str, monkeypatch: pytest.MonkeyPatch) -> World:
    root = repository({"params.yaml": PARAMS, "dvc.yaml": "stages: {}\n", ".gitignore": "/data\n"})
    monkeypatch.chdir(root)
    monkeypatch.setattr(admission, "pages", lambda *_: {"card.md": "# A card"})
    monkeypatch.setattr("tidegate.serving.golden.largest_difference", lambda *_, **__: 1e-9)
    return World(root, empty_registry)
