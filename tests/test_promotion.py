"""Promote ends in one state, however often it runs and wherever it was killed; and it refuses what was not judged."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tidegate import files, package_store, promotion, promotion_log, recording, registry
from tidegate.errors import DataError, PackageError, ParamsError, RegistryError, StaleDecisionError
from tidegate.files import digest_folder, digest_json, read_json, write_json
from tidegate.registry_state import DECISION

Make = Callable[..., Path]
PARAMS = """\
ingest: {task: channels}
promote: {tracking_uri: null, golden_tolerance: 0.0001, start_timeout_s: 60}
"""


@dataclass
class World:
    """A checkout with a decision, and the registry it would be taken to."""

    root: Path
    uri: str

    @property
    def data(self) -> Path:
        return self.root / "data"

    def decide(
        self, candidate: str = "c1", *, verdict: str = "pass", champion: str | None = None, **others: Any
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
            "recipe": "r", "champion": champion, "best": None,
            "evidence": {
                "evaluation.json": files.sha256(self.data / "evaluation.json"),
                "predictions": digest_folder(self.data / "predictions"),
            },
        }  # fmt: skip
        write_json(self.data / "decision.json", {**decision, **others})
        return digest

    def promote(self) -> str:
        return promotion.promote(self.root)

    def aliases(self) -> dict[str, str | None]:
        state = registry.read(self.uri, "channels")
        return {alias: state.versions[number].digest for alias, number in state.aliases.items()}

    def log(self) -> list[tuple[str, str | None]]:
        return [(entry["candidate"], entry["previous"]) for entry in promotion_log.entries("channels")]

    def everything(self) -> Any:
        """What must be the same after any way that leads to the end; not the ids and times."""
        versions = registry.read(self.uri, "channels").versions
        packages = sorted(path.name for path in (package_store.folder_of("x").parent).glob("*"))
        return {n: v.tags for n, v in versions.items()}, self.aliases(), self.log(), packages


@pytest.fixture
def world(repository: Make, empty_registry: str, monkeypatch: pytest.MonkeyPatch) -> World:
    root = repository({"params.yaml": PARAMS, "dvc.yaml": "stages: {}\n", ".gitignore": "/data\n"})
    monkeypatch.chdir(root)
    monkeypatch.setattr("tidegate.serving.golden.largest_difference", lambda *_, **__: 1e-9)
    return World(root, empty_registry)


A, B, C = "a" * 64, "b" * 64, "c" * 64


@pytest.mark.parametrize(
    ("verdict", "compared_with", "champion", "what"),
    [
        ("pass", None, None, "promote"),
        ("pass", A, A, "promote"),
        ("pass", None, C, "done"),
        ("pass", A, C, "done"),
        ("pass", C, C, "done"),  # a decision that judged the champion itself
        ("fail", C, C, "done"),
        ("pass", None, A, StaleDecisionError),
        ("pass", A, None, StaleDecisionError),
        ("pass", A, B, StaleDecisionError),
        ("pass", C, None, StaleDecisionError),
        ("pass", C, A, StaleDecisionError),
        ("fail", None, None, "keep"),
        ("fail", A, A, "keep"),
        ("fail", A, B, "keep"),
        ("undecided", None, None, "keep"),
        ("undecided", A, A, "keep"),
        ("undecided", A, B, "keep"),
    ],
)
def test_what_becomes_of_a_decision(
    verdict: str, compared_with: str | None, champion: str | None, what: str | type[Exception]
) -> None:
    decision = {"verdict": verdict, "candidate": C, "champion": compared_with}
    if isinstance(what, str):
        assert promotion.intent(decision, champion) == what
    else:
        with pytest.raises(what, match="make repro"):
            promotion.intent(decision, champion)


def test_the_first_candidate_that_passes_becomes_champion_and_best(world: World) -> None:
    digest = world.decide()
    assert world.promote() == "promote"
    assert world.aliases() == {"champion": digest, "best": digest}
    assert world.log() == [(digest, None)]
    assert digest_folder(package_store.folder_of(digest)) == digest
    version = registry.read(world.uri, "channels").versions[1]
    assert version.tags[DECISION] == digest_json(read_json(world.data / "decision.json"))
    assert version.tags["tidegate.verdict"] == "pass"


def test_a_second_run_changes_nothing_and_loads_no_mlflow(world: World) -> None:
    world.decide()
    world.promote()
    before = world.everything()
    modified = (Path(world.uri.removeprefix("sqlite:///"))).stat().st_mtime_ns
    code = "import sys; from pathlib import Path; from tidegate.promotion import promote\n"
    code += "assert promote(Path.cwd()) == 'done'; assert not {'mlflow', 'dvc', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=world.root, check=True)
    assert world.everything() == before
    assert (Path(world.uri.removeprefix("sqlite:///"))).stat().st_mtime_ns == modified


def test_the_next_one_that_passes_takes_its_place(world: World) -> None:
    first = world.decide("c1")
    world.promote()
    second = world.decide("c2", champion=first, paired={"best": {"accuracy": {"value": 0.01}}})
    assert world.promote() == "promote"
    assert world.aliases() == {"champion": second, "best": second}
    assert world.log() == [(first, None), (second, first)]


@pytest.mark.parametrize(
    ("paired", "same_as", "is_best"),
    [
        ({}, {}, True),  # there is none
        ({"best": 0.0}, {}, True),
        ({"best": 0.01}, {}, True),
        ({"best": -0.01, "champion": 0.02}, {}, False),
        ({"champion": -0.01}, {"best": "champion"}, False),  # run once for both
        ({"champion": 0.01}, {"best": "champion"}, True),
        ({"champion": -0.01}, {"best": "candidate"}, True),  # it is the best ever itself
    ],
)
def test_the_best_ever_is_replaced_by_what_is_at_least_as_good(
    tmp_path: Path, paired: dict[str, float], same_as: dict[str, str], *, is_best: bool
) -> None:
    differences = {role: {"accuracy": {"value": value}} for role, value in paired.items()}
    write_json(tmp_path / "data" / "evaluation.json", {"models": {}, "paired": differences, "same_as": same_as})
    assert promotion.is_best_ever(tmp_path) is is_best


def test_a_worse_one_that_passes_leaves_the_best_ever(world: World) -> None:
    first = world.decide("c1")
    world.promote()
    second = world.decide("c2", champion=first, paired={"best": {"accuracy": {"value": -0.01}}})
    world.promote()
    assert world.aliases() == {"champion": second, "best": first}


@pytest.mark.parametrize("verdict", ["fail", "undecided"])
def test_what_does_not_pass_becomes_challenger_and_the_champion_stays(world: World, verdict: str) -> None:
    first = world.decide("c1")
    world.promote()
    second = world.decide("c2", verdict=verdict, champion=first)
    assert world.promote() == "keep"
    assert world.aliases() == {"champion": first, "best": first, "challenger": second}
    assert world.log() == [(first, None)]
    before = world.everything()
    assert world.promote() == "keep"
    assert world.everything() == before


def test_a_challenger_that_passes_at_last_is_a_challenger_no_more(world: World) -> None:
    first = world.decide("c1")
    world.promote()
    world.decide("c2", verdict="undecided", champion=first)
    world.promote()
    second = world.decide("c2", champion=first)
    assert world.promote() == "promote"
    assert world.aliases() == {"champion": second, "best": second}
    assert len(registry.read(world.uri, "channels").versions) == 2


def test_what_did_not_pass_without_a_champion_leaves_none(world: World) -> None:
    digest = world.decide(verdict="undecided")
    assert world.promote() == "keep"
    assert world.aliases() == {"challenger": digest}


@pytest.mark.parametrize("verdict", ["pass", "undecided"])
def test_a_champion_judged_against_itself_stays_whatever_the_verdict(world: World, verdict: str) -> None:
    digest = world.decide("c1")
    world.promote()
    world.decide("c1", verdict=verdict, champion=digest)
    assert world.promote() == "done"
    latest = digest_json(read_json(world.data / "decision.json"))
    assert registry.read(world.uri, "channels").versions[1].tags[DECISION] == latest
    assert world.aliases() == {"champion": digest, "best": digest}
    assert world.log() == [(digest, None)]
    before = world.everything()
    assert world.promote() == "done"
    assert world.everything() == before


def test_a_champion_that_moved_since_is_not_replaced(world: World) -> None:
    first = world.decide("c1")
    world.promote()
    world.decide("c2", champion=None)
    before = world.everything()
    with pytest.raises(StaleDecisionError, match=f"champion none, but the champion is {first[:12]} now"):
        world.promote()
    assert world.everything() == before


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("candidate/package.json", "data/candidate"),
        ("evaluation.json", "data/evaluation.json"),
        ("predictions/candidate.parquet", "data/predictions"),
    ],
)
@pytest.mark.parametrize("damage", ["one byte", "gone"])
def test_what_was_not_judged_is_not_promoted(world: World, name: str, what: str, damage: str) -> None:
    world.decide()
    path = world.data / name
    content = path.read_bytes()
    path.unlink()
    if damage == "one byte":
        path.write_bytes(content[:-1] + b" ")
    with pytest.raises(PackageError) as caught:
        world.promote()
    assert caught.value.what == what
    assert world.everything() == ({}, {}, [], [])


@pytest.mark.parametrize("difference", [0.00011, 1.0, float("nan")])
def test_a_candidate_that_answers_otherwise_when_served_is_not_promoted(
    world: World, monkeypatch: pytest.MonkeyPatch, difference: float
) -> None:
    monkeypatch.setattr("tidegate.serving.golden.largest_difference", lambda *_, **__: difference)
    world.decide()
    with pytest.raises(RegistryError, match="nothing was promoted"):
        world.promote()
    assert (world.aliases(), world.log()) == ({}, [])


def test_what_is_not_promoted_is_not_served_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> float:
        raise AssertionError("it was served")

    monkeypatch.setattr("tidegate.serving.golden.largest_difference", refuse)
    world.decide(verdict="fail")
    assert world.promote() == "keep"


STEPS: list[tuple[Any, str]] = [
    (promotion, "check_evidence"),
    (package_store, "store"),
    (promotion, "prove_in_service"),
    (recording, "record"),
    (registry.Registry, "ensure_run"),
    (registry.Registry, "ensure_version"),
    (promotion, "_push"),
    (registry.Registry, "drop_alias"),
    (registry.Registry, "set_alias"),
    (promotion_log, "append"),
]


@pytest.mark.parametrize(
    ("place", "step", "moment"),
    [
        pytest.param(*step, moment, id=f"{moment} {step[1]}")
        for step, moment in [*((step, "before") for step in STEPS), (STEPS[-1], "after")]
    ],
)
def test_killed_at_any_step_the_next_run_ends_in_the_same_state(
    world: World, monkeypatch: pytest.MonkeyPatch, place: Any, step: str, moment: str
) -> None:
    digest = world.decide(verdict="undecided")
    world.promote()  # so that there is a challenger to drop
    world.decide()
    done = getattr(place, step)

    def kill(*args: Any, **kwargs: Any) -> Any:
        if moment == "after":
            done(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(place, step, kill)
        with pytest.raises(KeyboardInterrupt):
            world.promote()
    assert world.promote() == ("promote" if step != "append" else "done")
    assert world.aliases() == {"champion": digest, "best": digest}
    assert world.log() == [(digest, None)]
    (version,) = registry.read(world.uri, "channels").versions.values()
    assert (version.digest, version.tags["tidegate.verdict"]) == (digest, "pass")
    before = world.everything()
    assert world.promote() == "done"
    assert world.everything() == before


def test_killed_before_it_is_challenger_the_next_run_makes_it_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    digest = world.decide(verdict="undecided")
    with monkeypatch.context() as patch:
        patch.setattr(registry.Registry, "set_alias", kill)
        with pytest.raises(KeyboardInterrupt):
            world.promote()
    assert world.promote() == "keep"
    assert world.aliases() == {"challenger": digest}


@pytest.mark.parametrize("number", [1, 2])
def test_killed_between_two_aliases_the_next_run_ends_in_the_same_state(
    world: World, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    digest = world.decide()
    set_alias, calls = registry.Registry.set_alias, [0]

    def kill_after(self: registry.Registry, alias: str, version: int) -> None:
        set_alias(self, alias, version)
        calls[0] += 1
        if calls[0] == number:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registry.Registry, "set_alias", kill_after)
        with pytest.raises(KeyboardInterrupt):
            world.promote()
    world.promote()
    assert world.aliases() == {"champion": digest, "best": digest}
    assert world.log() == [(digest, None)]


def test_a_registry_that_was_lost_is_made_again(world: World, var: Path, migrated_database: Path) -> None:
    digest = world.decide()
    world.promote()
    shutil.rmtree(var / "mlflow")
    shutil.copyfile(migrated_database, var / "mlflow.db")
    assert world.aliases() == {}
    assert world.promote() == "promote"
    assert world.aliases() == {"champion": digest, "best": digest}
    assert world.log() == [(digest, None)]


@pytest.mark.parametrize("lost", ["packages", "promotions"])
def test_what_else_was_lost_is_made_again(world: World, var: Path, lost: str) -> None:
    world.decide()
    world.promote()
    before = world.everything()
    shutil.rmtree(var / lost)
    assert world.promote() == "done"
    assert world.everything() == before


def test_without_a_decision_there_is_nothing_to_take_out(world: World) -> None:
    with pytest.raises(DataError, match=r"decision\.json: is missing"):
        world.promote()


def test_the_evidence_goes_to_the_remote_before_the_champion_changes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr("tidegate.reproduction.push", lambda _: order.append("push") or 3)
    set_alias = registry.Registry.set_alias

    def noted(self: registry.Registry, alias: str, number: int) -> None:
        order.append(alias)
        set_alias(self, alias, number)

    monkeypatch.setattr(registry.Registry, "set_alias", noted)
    world.decide()
    world.promote()
    assert order == ["push", "best", "champion"]


def test_a_real_package_is_served_and_promoted(
    world: World, package_folder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidegate.package import Package

    monkeypatch.undo()
    monkeypatch.setenv("TIDEGATE_VAR", str(package_store.Path(world.uri.removeprefix("sqlite:///")).parent))
    monkeypatch.chdir(world.root)
    world.decide()
    shutil.rmtree(world.data / "candidate")
    folder = package_folder(world.data / "candidate")
    rows = Package.load(folder).predict(["good", "a bad book"]).tolist()
    asked = [{"text": text, "probabilities": row} for text, row in zip(["good", "a bad book"], rows, strict=True)]
    write_json(world.data / "golden.json", asked)
    decision = read_json(world.data / "decision.json") | {"candidate": digest_folder(folder)}
    write_json(world.data / "decision.json", decision)
    assert world.promote() == "promote"
    assert world.aliases()["champion"] == digest_folder(folder)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ("ingest: {task: channels}", "promote: must be a mapping"),
        (PARAMS.replace("0.0001", "1"), "golden_tolerance: must be below 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, params: str, words: str) -> None:
    (tmp_path / "params.yaml").write_text(params)
    with pytest.raises(ParamsError, match=words):
        promotion.read_settings(tmp_path)


def test_the_registry_is_the_named_one_then_that_of_mlflow_then_the_one_in_var(
    tmp_path: Path, var: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS)
    assert promotion.read_settings(tmp_path).uri() == f"sqlite:///{var / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host")
    assert promotion.read_settings(tmp_path).uri() == "http://host"
    path.write_text(PARAMS.replace("tracking_uri: null", "tracking_uri: http://other"))
    assert promotion.read_settings(tmp_path).uri() == "http://other"


@pytest.mark.parametrize(
    "params", ["{}", "ingest: 3", "ingest: {task: 3}", "ingest: {task: ''}", "ingest: {task: ../a}"]
)
def test_a_task_without_a_name_is_refused(tmp_path: Path, params: str) -> None:
    (tmp_path / "params.yaml").write_text(params)
    with pytest.raises(ParamsError, match=r"ingest\.task"):
        promotion.task_of(tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS)
    assert promotion.task_of(tmp_path) == "channels"
