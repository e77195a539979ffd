"""Lineage: from a version to data, params and code, and back; what cannot be found is said."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate import package_store, pipeline, registry
from tidegate.errors import RegistryError
from tidegate.registry_state import DECISION, DIGEST, State, Version
from tidegate.release import lineage, provenance

PIPELINE = {
    "stages": {
        "ingest": {
            "cmd": "python -m tidegate ingest", "deps": ["data/raw", "src/read.py"], "params": ["ingest"],
            "outs": ["data/records.parquet", "data/manifest.json"],
        },
        "select": {
            "cmd": "python -m tidegate select", "deps": ["data/records.parquet", "src/select.py"], "params": ["select"],
            "outs": ["data/candidate"],
        },
    }
}  # fmt: skip
SOURCE = {"name": "tweets", "address": "wheel://texts==1/tweets.csv", "sha256": "5" * 64, "rows": 4200}


def md5(letter: str) -> str:
    return letter * 32


def entry(path: str, letter: str, size: int = 10) -> dict[str, Any]:
    return {"path": path, "hash": "md5", "md5": md5(letter), "size": size}


def cached(root: Path, letter: str, kind: str = "") -> Path:
    path = root / ".dvc" / "cache" / "files" / "md5" / (letter * 2) / f"{letter * 30}{kind}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def lock(*, code: str, records: str, manifest: str, candidate: str, margin: float) -> str:
    stages = {
        "ingest": {
            "cmd": "…", "deps": [entry("data/raw", "0"), entry("src/read.py", "1")],
            "params": {"params.yaml": {"ingest": {"task": "channels"}}},
            "outs": [entry("data/records.parquet", records, 2_500_000), entry("data/manifest.json", manifest)],
        },
        "select": {
            "cmd": "…", "deps": [entry("data/records.parquet", records), entry("src/select.py", code)],
            "params": {"params.yaml": {"select": {"margin": margin}}}, "outs": [entry("data/candidate", candidate)],
        },
    }  # fmt: skip
    return yaml.safe_dump({"schema": "2.0", "stages": stages}, allow_unicode=True)


def settings(margin: float) -> str:
    ends = {
        "tracking_uri": None, "policy": "auto", "approval_hours": 1, "test_budget": None, "golden_tolerance": 0.0001,
        "figure_tolerance": 0.001, "start_timeout_s": 60,
    }  # fmt: skip
    return yaml.safe_dump({"ingest": {"task": "channels"}, "select": {"margin": margin}, "promote": ends})


@dataclass
class World:
    """A clone in which runs were promoted, and the registry."""

    root: Path
    git: Callable[..., str]
    versions: dict[int, Version] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)

    def run(self, number: int, *, margin: float = 0.02, **letters: str) -> str:
        """Leaves the tree of a run in git and a version in the registry; gives the name of the tree."""
        (self.root / "dvc.lock").write_text(lock(margin=margin, **letters))
        (self.root / "params.yaml").write_text(settings(margin))
        self.git(self.root, "add", "-A")
        tree = self.git(self.root, "write-tree")
        recipe = pipeline.recipe("select", root=self.root)["digest"]
        digest = f"{number}" * 64
        self.version(number, **{DIGEST: digest, "tidegate.recipe": recipe, lineage.TREE: tree})
        return tree

    def version(self, number: int, **tags: str) -> None:
        others = {DECISION: "d" * 64, "tidegate.verdict": "pass", "tidegate.dirty": "true"}
        others["tidegate.revision"] = self.git(self.root, "rev-parse", "HEAD")
        self.versions[number] = Version(number=number, tags=others | tags, run_id=None)

    def tree(self, what: str) -> str:
        return lineage.tree(self.root, what)


@pytest.fixture
def world(
    repository: Callable[..., Path], git: Callable[..., str], var: Path, monkeypatch: pytest.MonkeyPatch
) -> World:
    files = {"dvc.yaml": yaml.safe_dump(PIPELINE), "params.yaml": settings(0.02), ".gitignore": "/data\n"}
    made = World(repository(files), git)
    log = [{"event": "promoted", "decision": "d" * 64, "at": "2026-11-22T04:51:09Z", "by": "ada"}]
    monkeypatch.setattr(lineage.log, "entries", lambda task: iter(log))
    monkeypatch.setattr(registry, "read", lambda uri, task: State(versions=made.versions, aliases=made.aliases))
    made.run(1, code="a", records="b", manifest="c", candidate="d")
    made.run(2, code="e", records="b", manifest="c", candidate="f", margin=0.03)
    made.aliases |= {"champion": 2, "best": 1}
    manifest = cached(made.root, "c")
    manifest.write_text(json.dumps({"sources": [SOURCE]}))
    return made


def test_a_version_shows_all_that_it_came_from(world: World) -> None:
    package = package_store.folder_of("2" * 64)
    package.mkdir(parents=True)
    (package / "model.onnx").write_bytes(b"0" * 1_200_000)
    lines = world.tree("2").splitlines()
    assert lines[0] == "version 2 of channels (champion)"
    text = "\n".join(lines)
    for words in (
        f"├ package 222222222222: 1.2 MB, in {package}", "├ decision dddddddddddd: pass",
        "promoted 2026-11-22T04:51:09Z by ada", "found again in the tree", "data from outside: data/raw 000000000000",
        "code: 2 files", "params: 3 sections", "with changes that no commit holds",
        "tweets: 4,200 rows, sha256 555555555555, wheel://texts==1/tweets.csv",
        "data/records.parquet bbbbbbbbbbbb, 2.5 MB, not in DVC's cache",
        "data/manifest.json cccccccccccc, 10 bytes, in DVC's cache",
    ):  # fmt: skip
        assert words in text
    assert text.index("ingest\n") < text.index("select\n"), "stages stand in the order of the pipeline"


@pytest.mark.parametrize(("what", "number"), [("1", 1), ("champion", 2), ("best", 1)])
def test_numbers_and_aliases_name_versions(world: World, what: str, number: int) -> None:
    assert world.tree(what).startswith(f"version {number} of channels")


def test_params_that_are_others_now_are_shown(world: World) -> None:
    assert "as params.yaml now" in world.tree("2")
    assert "select.margin: 0.02, now 0.03" in world.tree("1")
    assert "promote." not in world.tree("1")


def test_the_tree_that_was_run_counts_and_not_the_checkout(world: World) -> None:
    (world.root / "dvc.lock").write_text("stages: {}\n")
    assert "data/candidate dddddddddddd" in world.tree("1")


def test_a_recipe_that_is_not_that_of_the_tree_is_told(world: World) -> None:
    tags = dict(world.versions[1].tags) | {"tidegate.recipe": "9" * 64}
    world.version(1, **tags)
    assert "recipe 999999999999: NOT the one of the tree" in world.tree("1")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (None, "has no tag of the tree that was run"),
        ("4b825dc642cb6eb9a060e54bf8d69288fbee4904", "holds no dvc.yaml, or is not in this repository"),
        ("--help", "holds no dvc.yaml"),
    ],
)
def test_a_version_without_its_tree_shows_what_is_known(world: World, name: str | None, said: str) -> None:
    world.version(3, **{DIGEST: "3" * 64, "tidegate.recipe": "8" * 64} | ({lineage.TREE: name} if name else {}))
    text = world.tree("3")
    assert said in text
    assert "recipe 888888888888" in text
    assert "package 333333333333: not in" in text


def test_a_version_that_somebody_else_registered_is_no_error(world: World) -> None:
    world.versions[4] = Version(number=4, tags={}, run_id=None)
    text = world.tree("4")
    assert "somebody else registered this version" in text
    assert "decision: not known" in text


def test_a_manifest_that_left_the_cache_is_told(world: World) -> None:
    cached(world.root, "c").unlink()
    assert "sources: not known, manifest.json is no longer in DVC's cache" in world.tree("1")


def test_a_folder_lies_in_the_cache_if_every_file_of_it_does(world: World) -> None:
    made = provenance.read(world.root, world.versions[1].tags[lineage.TREE])
    folder = replace(made.artifacts[-1], md5=f"{md5('d')}.dir")
    assert not made.keeps(folder)
    cached(world.root, "d", ".dir").write_text(json.dumps([{"md5": md5(letter), "relpath": letter} for letter in "ab"]))
    cached(world.root, "a").write_text("")
    assert not made.keeps(folder)
    cached(world.root, "b").write_text("")
    assert made.keeps(folder)
    cached(world.root, "d", ".dir").write_text("no list")
    assert not made.keeps(folder)


def test_the_cache_may_lie_elsewhere(world: World, tmp_path: Path) -> None:
    (world.root / ".dvc" / "config").write_text(f"[cache]\n    dir = {tmp_path / 'shared'}\n")
    assert provenance.cache_folder(world.root) == tmp_path / "shared"
    (world.root / ".dvc" / "config.local").write_text("[cache]\n    dir = ../mine\n")
    assert provenance.cache_folder(world.root).resolve() == world.root / "mine"


def found(text: str) -> list[int]:
    return [number for number in (1, 2) if f"version {number} of" in text]


@pytest.mark.parametrize(
    ("what", "numbers"),
    [
        ("data/candidate", [2]),  # as it is now
        ("data/candidate/model.onnx", [2]),
        ("data/records.parquet", [1, 2]),
        ("src/select.py", [2]),
        ("dddddd", [1, 2]),  # the candidate of one, the decision of both
        ("ffffff", [2]),
        ("111111", [1, 2]),  # a package, and the code of both
        ("wheel://texts==1/tweets.csv", [1, 2]),
        ("tweets.csv", [1, 2]),
        ("555555555", [1, 2]),
    ],
)
def test_from_a_file_a_digest_or_an_address_back_to_versions(world: World, what: str, numbers: list[int]) -> None:
    assert found(world.tree(what)) == numbers


def test_from_a_revision_and_from_a_tree_back_to_versions(world: World) -> None:
    revision, tree = (world.versions[1].tags[tag] for tag in ("tidegate.revision", lineage.TREE))
    assert found(world.tree(revision[:8])) == [1, 2]
    assert found(world.tree(tree)) == [1]
    assert f"tree {tree}" in world.tree(tree)


def test_what_led_to_a_version_is_named(world: World) -> None:
    text = world.tree("data/records.parquet")
    assert text.splitlines()[0] == f"data/records.parquet, now {'b' * 12}"
    assert "stage ingest wrote the same" in text
    assert "data/candidate, which stage select wrote" in world.tree("ffffff")


@pytest.mark.parametrize("what", ["7", "777777", "data/none.parquet", "nobody", "/etc/hosts", "ab", "", "../x"])
def test_what_nothing_came_from_is_an_error_that_says_what_can_be_given(world: World, what: str) -> None:
    with pytest.raises(RegistryError, match=r"the lineage of none of the 2 versions of channels.*number of a version"):
        world.tree(what)
