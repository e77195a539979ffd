"""Promote ends in one state, however often it runs and wherever it was killed; and it refuses what was not judged."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate import package_store, pipeline, registry
from tidegate.errors import BudgetError, DataError, PackageError, RegistryError, StaleDecisionError
from tidegate.files import digest_folder, digest_json, read_json, write_json
from tidegate.registry_state import DECISION
from tidegate.release import admission, dossier, log, people, promotion, recording, settings, trees
from tidegate.release.standing import Standing

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
    if isinstance(what, str):
        assert intent(Standing(champion=champion), verdict=verdict, champion=compared_with) == what
    else:
        with pytest.raises(what, match="make repro"):
            intent(Standing(champion=champion), verdict=verdict, champion=compared_with)


HOW = {
    "tracking_uri": None, "policy": "auto", "approval_hours": 1, "test_budget": None, "golden_tolerance": 0,
    "figure_tolerance": 0, "start_timeout_s": 1,
}  # fmt: skip
NOON, ONE = "2026-01-01T12:00:00Z", "2026-01-01T13:00:00Z"


def intent(standing: Standing, *, supports: int = 3, how: dict[str, Any] | None = None, **others: Any) -> str:
    """Of a decision on C, at noon."""
    test = {"digest": "t", "supports": supports}
    decision = {
        "verdict": "pass",
        "candidate": C,
        "champion": None,
        "best": None,
        "recipe": "r",
        "test": test,
        **others,
    }
    standing.approved_until = {digest_json(decision): until for until in standing.approved_until.values()}
    standing.decisions.setdefault(C, digest_json(decision))
    return promotion.intent(decision, standing, settings.Settings(**HOW | (how or {})), now=NOON)


@pytest.mark.parametrize("best", [None, B])
def test_what_was_not_compared_with_the_best_ever_is_not_promoted(best: str | None) -> None:
    with pytest.raises(StaleDecisionError, match="best ever"):
        intent(Standing(best=A), best=best)
    assert intent(Standing(best=A), best=A) == "promote"


def test_an_older_pass_does_not_override_a_later_decision() -> None:
    with pytest.raises(StaleDecisionError, match="is not the latest one on it"):
        intent(Standing(decisions={C: "a later one"}))


@pytest.mark.parametrize("denied", [C, "r"])
def test_what_a_person_denied_is_not_promoted_and_neither_is_its_recipe(denied: str) -> None:
    assert intent(Standing(denied={denied: "rejected by ada"})) == "denied"
    assert intent(Standing(denied={"another": "rejected by ada"})) == "promote"


@pytest.mark.parametrize(
    ("until", "what"), [({}, "wait"), ({"d": ONE}, "promote"), ({"d": NOON}, "wait"), ({"d": "2025-12-31T23"}, "wait")]
)
def test_under_the_manual_policy_what_passed_waits_for_an_approval_that_expires(
    until: dict[str, str], what: str
) -> None:
    assert intent(Standing(approved_until=dict(until)), how={"policy": "manual"}) == what
    assert intent(Standing(approved_until=dict(until)), how={"policy": "auto"}) == "promote"


@pytest.mark.parametrize(
    ("judged", "supports", "budget", "enough"),
    [
        (3, 3, None, True),
        (4, 3, None, False),
        (4, 3, 4, True),
        (2, 9, 1, False),
        (1, 0, None, True),
        (2, 0, None, False),
    ],
)
def test_a_test_set_decides_about_as_many_candidates_as_its_budget_allows(
    judged: int, supports: int, budget: int | None, *, enough: bool
) -> None:
    standing = Standing(judged_on={"t": {str(i) for i in range(judged)}, "other": set(map(str, range(99)))})
    if enough:
        assert intent(standing, supports=supports, how={"test_budget": budget}) == "promote"
    else:
        with pytest.raises(BudgetError, match=rf"test set t: has decided about {judged} candidates.*Refresh it"):
            intent(standing, supports=supports, how={"test_budget": budget})


def test_what_failed_needs_no_budget() -> None:
    assert intent(Standing(judged_on={"t": set("abcdef")}), verdict="fail") == "keep"


def test_the_first_candidate_that_passes_becomes_champion_and_best(world: Any) -> None:
    digest = world.decide()
    assert world.promote() == "promote"
    assert world.aliases() == {"champion": digest, "best": digest}
    assert world.log("judged", "promoted") == [("judged", digest), ("promoted", digest)]
    assert digest_folder(package_store.folder_of(digest)) == digest
    version = registry.read(world.uri, "channels").versions[1]
    assert version.tags[DECISION] == digest_json(read_json(world.data / "decision.json"))
    assert version.tags["tidegate.verdict"] == "pass"


def test_a_second_run_changes_nothing_and_loads_no_mlflow(world: Any) -> None:
    world.decide()
    world.promote()
    before = world.everything()
    modified = (Path(world.uri.removeprefix("sqlite:///"))).stat().st_mtime_ns
    code = "import sys; from pathlib import Path; from tidegate.release.promotion import promote\n"
    code += "assert promote(Path.cwd()) == 'done'; assert not {'mlflow', 'dvc', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=world.root, check=True)
    assert world.everything() == before
    assert (Path(world.uri.removeprefix("sqlite:///"))).stat().st_mtime_ns == modified


def test_the_next_one_that_passes_takes_its_place(world: Any) -> None:
    first = world.decide("c1")
    world.promote()
    second = world.decide("c2", champion=first, paired={"best": {"accuracy": {"value": 0.01}}})
    assert world.promote() == "promote"
    assert world.aliases() == {"champion": second, "best": second}
    assert world.log() == [("promoted", first), ("promoted", second)]


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
    write_json(tmp_path / "evaluation.json", {"models": {}, "paired": differences, "same_as": same_as})
    assert promotion.is_best_ever(tmp_path) is is_best


def test_a_worse_one_that_passes_leaves_the_best_ever(world: Any) -> None:
    first = world.decide("c1")
    world.promote()
    second = world.decide("c2", champion=first, paired={"best": {"accuracy": {"value": -0.01}}})
    world.promote()
    assert world.aliases() == {"champion": second, "best": first}


@pytest.mark.parametrize("verdict", ["fail", "undecided"])
def test_what_does_not_pass_becomes_challenger_and_the_champion_stays(world: Any, verdict: str) -> None:
    first = world.decide("c1")
    world.promote()
    second = world.decide("c2", verdict=verdict, champion=first)
    assert world.promote() == "keep"
    assert world.aliases() == {"champion": first, "best": first, "challenger": second}
    assert world.log() == [("promoted", first)]
    before = world.everything()
    assert world.promote() == "keep"
    assert world.everything() == before


def test_a_challenger_that_passes_at_last_is_a_challenger_no_more(world: Any) -> None:
    first = world.decide("c1")
    world.promote()
    world.decide("c2", verdict="undecided", champion=first)
    world.promote()
    second = world.decide("c2", champion=first)
    assert world.promote() == "promote"
    assert world.aliases() == {"champion": second, "best": second}
    assert len(registry.read(world.uri, "channels").versions) == 2


def test_what_did_not_pass_without_a_champion_leaves_none(world: Any) -> None:
    digest = world.decide(verdict="undecided")
    assert world.promote() == "keep"
    assert world.aliases() == {"challenger": digest}


@pytest.mark.parametrize("verdict", ["pass", "undecided"])
def test_a_champion_judged_against_itself_stays_whatever_the_verdict(world: Any, verdict: str) -> None:
    digest = world.decide("c1")
    world.promote()
    world.decide("c1", verdict=verdict, champion=digest)
    assert world.promote() == "done"
    latest = digest_json(read_json(world.data / "decision.json"))
    assert registry.read(world.uri, "channels").versions[1].tags[DECISION] == latest
    assert world.aliases() == {"champion": digest, "best": digest}
    assert world.log() == [("promoted", digest)]
    before = world.everything()
    assert world.promote() == "done"
    assert world.everything() == before


def test_a_champion_that_moved_since_is_not_replaced(world: Any) -> None:
    first = world.decide("c1")
    world.promote()
    second = world.decide("c2", champion=None)
    for _ in range(2):
        with pytest.raises(StaleDecisionError, match=f"champion none, but the champion is {first[:12]} now"):
            world.promote()
        assert world.aliases() == {"champion": first, "best": first, "challenger": second}
        assert world.log() == [("promoted", first)]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("candidate/package.json", "data/candidate"),
        ("evaluation.json", "data/evaluation.json"),
        ("predictions/candidate.parquet", "data/predictions"),
    ],
)
@pytest.mark.parametrize("damage", ["one byte", "gone"])
def test_what_was_not_judged_is_not_promoted(world: Any, name: str, what: str, damage: str) -> None:
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
    world: Any, monkeypatch: pytest.MonkeyPatch, difference: float
) -> None:
    monkeypatch.setattr("tidegate.serving.golden.largest_difference", lambda *_, **__: difference)
    world.decide()
    with pytest.raises(RegistryError, match="nothing was promoted"):
        world.promote()
    assert "champion" not in world.aliases()
    assert world.log() == []


def test_what_is_not_promoted_is_not_served_first(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> float:
        raise AssertionError("it was served")

    monkeypatch.setattr("tidegate.serving.golden.largest_difference", refuse)
    world.decide(verdict="fail")
    assert world.promote() == "keep"


STEPS: list[tuple[Any, str, int]] = [
    (admission, "check_run", 1),
    (admission, "check_candidate", 1),
    (dossier, "check", 1),
    (package_store, "store", 1),
    (trees, "keep", 1),
    (dossier, "keep", 1),
    (promotion, "_push", 1),
    (log, "append", 1),
    (recording, "record", 1),
    (registry.Registry, "ensure_run", 1),
    (registry.Registry, "ensure_version", 1),
    (registry.Registry, "set_alias", 1),
    (admission, "prove_in_service", 1),
    (log, "append", 2),
    (registry.Registry, "drop_alias", 1),
    (registry.Registry, "set_alias", 2),
    (registry.Registry, "set_alias", 3),
]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("place", "step", "call"), [pytest.param(*s, id=f"{s[1]} {s[2]}") for s in STEPS])
def test_killed_at_any_step_the_next_run_ends_in_the_same_state(
    world: Any, monkeypatch: pytest.MonkeyPatch, place: Any, step: str, call: int, moment: str
) -> None:
    done, calls = getattr(place, step), [0]

    def kill(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] < call:
            return done(*args, **kwargs)
        if moment == "after":
            done(*args, **kwargs)
        raise KeyboardInterrupt

    digest = world.decide()
    with monkeypatch.context() as patch:
        patch.setattr(place, step, kill)
        with pytest.raises(KeyboardInterrupt):
            world.promote()
    promoted = (
        step == "drop_alias"
        or (step == "set_alias" and call > 1)
        or (moment == "after" and (step, call) == ("append", 2))
    )
    assert world.promote() == ("done" if promoted else "promote")
    assert world.aliases() == {"champion": digest, "best": digest}
    assert world.log("judged", "promoted") == [("judged", digest), ("promoted", digest)]
    (version,) = registry.read(world.uri, "channels").versions.values()
    assert (version.digest, version.tags["tidegate.verdict"]) == (digest, "pass")
    before = world.everything()
    assert world.promote() == "done"
    assert world.everything() == before


def lose_registry(var: Path, migrated_database: Path) -> None:
    shutil.rmtree(var / "mlflow")
    shutil.copyfile(migrated_database, var / "mlflow.db")


def test_a_registry_that_was_lost_is_made_again_with_all_that_was_judged(
    world: Any, var: Path, migrated_database: Path
) -> None:
    _, second = world.crowned("c1", "c2")
    world.decide("c3", verdict="fail", champion=second)
    world.promote()
    before = world.everything()
    lose_registry(var, migrated_database)
    assert world.aliases() == {}
    assert world.promote() == "keep"
    assert world.everything() == before
    assert world.aliases()["champion"] == second


def test_a_registry_and_the_packages_lost_the_champion_is_named(world: Any, var: Path, migrated_database: Path) -> None:
    _, second = world.crowned("c1", "c2")
    world.decide("c3", verdict="fail", champion=second)
    lose_registry(var, migrated_database)
    shutil.rmtree(var / "packages")
    with pytest.raises(RegistryError, match=f"the best of channels, {second[:12]}: is registered nowhere"):
        world.promote()


def test_packages_that_were_lost_are_stored_again(world: Any, var: Path) -> None:
    world.decide()
    world.promote()
    before = world.everything()
    shutil.rmtree(var / "packages")
    assert world.promote() == "done"
    assert world.everything() == before


def test_a_log_that_was_lost_begins_with_what_the_registry_has(world: Any, var: Path) -> None:
    _, second = world.crowned("c1", "c2")
    aliases = world.aliases()
    shutil.rmtree(var / "promotions")
    assert world.promote() == "done"
    assert world.aliases() == aliases
    assert world.log("found", "promoted") == [("found", second)]


def test_an_alias_that_somebody_moved_is_put_back(world: Any) -> None:
    first, second = world.crowned("c1", "c2")
    registry.Registry(world.uri, "channels").set_alias("champion", 1)
    assert world.aliases()["champion"] == first
    assert world.promote() == "done"
    assert world.aliases()["champion"] == second


def test_one_byte_of_a_stored_package_and_it_is_refused_by_name(world: Any) -> None:
    digest = world.decide()
    world.promote()
    file = package_store.folder_of(digest) / "package.json"
    file.write_bytes(file.read_bytes()[:-1] + b" ")
    with pytest.raises(PackageError, match=rf"{digest}: is not what its digest {digest[:12]} says"):
        world.promote()


def test_a_decision_that_the_gate_did_not_write_is_refused(world: Any) -> None:
    world.decide(verdict="fail")
    path = world.data / "decision.json"
    path.write_text(path.read_text().replace('"fail"', '"pass"'))
    with pytest.raises(StaleDecisionError, match="is not what the gate wrote"):
        world.promote()
    assert world.everything() == ({}, {}, [], [])


def test_a_decision_of_another_task_is_refused(world: Any) -> None:
    world.decide()
    world.use_task("reviews")
    with pytest.raises(StaleDecisionError, match=r"is about task 'channels', params\.yaml names 'reviews'"):
        world.promote()


def test_a_tree_that_changed_since_it_ran_is_refused(world: Any) -> None:
    world.decide()
    (world.root / "model.py").write_text("as it ran")
    lock = yaml.safe_load((world.root / "dvc.lock").read_text())
    lock["stages"]["train"] = {"deps": [{"path": "model.py", "md5": pipeline.md5(world.root / "model.py")}]}
    (world.root / "dvc.lock").write_text(yaml.safe_dump(lock))
    (world.root / "model.py").write_text("edited while it ran")
    with pytest.raises(StaleDecisionError, match=r"has changed since it ran: model\.py"):
        world.promote()
    (world.root / "model.py").write_text("as it ran")
    assert world.promote() == "promote"


def test_a_damaged_package_of_another_stands_in_nobodys_way(world: Any, var: Path, migrated_database: Path) -> None:
    first, second = world.crowned("c1", "c2")
    other = world.decide("c3", verdict="fail", champion=second)
    world.promote()
    lose_registry(var, migrated_database)
    (package_store.folder_of(other) / "package.json").write_text("{}")
    with pytest.raises(PackageError, match=other[:12]):
        world.promote()
    assert world.aliases() == {"champion": second, "best": second}
    shutil.rmtree(package_store.folder_of(other))
    shutil.rmtree(world.data / "candidate")
    assert world.rollback_despite(RegistryError) == first


def test_evidence_that_was_tampered_with_while_it_waited_is_not_promoted(world: Any) -> None:
    world.policy("manual")
    digest = world.decide()
    world.promote()
    path = dossier.folder_of(world.decision()) / "evaluation.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(PackageError, match=r"evaluation\.json: is not the file that the gate judged"):
        people.approve(world.root, digest, by="ada", why="")
    assert world.aliases() == {"challenger": digest}


def test_what_a_test_set_has_left_is_told_before_it_is_spent(world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("c1", "c2", "c3", "c4"):
        world.decide(name, verdict="fail", test_supports=5)
        world.promote()
        told = capsys.readouterr().out
        assert ("has decided about 4 of the 5 candidates" in told) == (name == "c4")


def test_two_at_once_promote_once(world: Any) -> None:
    digest = world.decide()
    code = (
        "import sys, tidegate.serving.golden as g; g.largest_difference = lambda *_, **__: 0.0\n"
        "from pathlib import Path; from tidegate.release import admission, promotion\n"
        "admission.pages = lambda *_: {}; print(promotion.promote(Path.cwd()))"
    )
    command = [sys.executable, "-c", code]
    both = [subprocess.Popen(command, cwd=world.root, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    ends = sorted(process.communicate()[0].split()[-1] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert ends == ["done", "promote"]
    assert world.aliases() == {"champion": digest, "best": digest}
    assert world.log("judged", "promoted") == [("judged", digest), ("promoted", digest)]


def test_two_tasks_do_not_see_each_other(world: Any) -> None:
    first = world.decide("c1")
    world.promote()
    world.use_task("reviews")
    second = world.decide("c2", task="reviews", best=None)
    assert world.promote() == "promote"
    assert world.aliases() == {"champion": first, "best": first}
    reviews = registry.read(world.uri, "reviews")
    assert {alias: reviews.versions[n].digest for alias, n in reviews.aliases.items()} == dict.fromkeys(
        ("champion", "best"), second
    )


def test_the_tree_that_was_run_can_be_checked_out_again(world: Any, git: Any, tmp_path: Path) -> None:
    (world.root / "new.py").write_text("print('not committed')\n")
    world.decide()
    world.promote()
    version = registry.read(world.uri, "channels").versions[1]
    (world.root / "new.py").unlink()
    git(world.root, "worktree", "add", "-q", str(tmp_path / "again"), version.tags["tidegate.tree"])
    assert (tmp_path / "again" / "new.py").read_text() == "print('not committed')\n"
    assert version.tags["tidegate.dirty"] == "true"


def test_without_a_decision_there_is_nothing_to_take_out(world: Any) -> None:
    with pytest.raises(DataError, match=r"decision\.json: is missing"):
        world.promote()


def test_the_evidence_goes_to_the_remote_before_the_champion_changes(
    world: Any, monkeypatch: pytest.MonkeyPatch
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
    assert order == ["push", "challenger", "best", "champion"]


def test_a_real_package_is_served_and_promoted(
    world: Any, package_folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidegate.package import Package

    monkeypatch.undo()
    monkeypatch.setattr(admission, "pages", lambda *_: {})
    monkeypatch.setenv("TIDEGATE_VAR", str(package_store.Path(world.uri.removeprefix("sqlite:///")).parent))
    monkeypatch.chdir(world.root)
    world.decide()
    shutil.rmtree(world.data / "candidate")
    folder = package_folder(world.data / "candidate")
    rows = Package.load(folder).predict(["good", "a bad book"]).tolist()
    asked = [{"text": text, "probabilities": row} for text, row in zip(["good", "a bad book"], rows, strict=True)]
    write_json(world.data / "golden.json", asked)
    world.rule(read_json(world.data / "decision.json") | {"candidate": digest_folder(folder)})
    assert world.promote() == "promote"
    assert world.aliases()["champion"] == digest_folder(folder)
