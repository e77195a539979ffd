"""People approve, reject and roll back: each word is bound to a digest, stands in the log, and holds."""

import subprocess
import sys
from typing import Any

import pytest

from tidegate import package_store, registry
from tidegate.errors import PackageError, RegistryError, StaleDecisionError
from tidegate.release import log, people, promotion, reconciling


@pytest.fixture
def waiting(world: Any) -> str:
    """The digest of a candidate that passed and waits, under the policy `manual`."""
    world.policy("manual")
    digest = world.decide()
    assert world.promote() == "wait"
    return digest


def approve(world: Any, digest: str) -> str:
    return people.approve(world.root, digest, by="ada", why="read the card")


def test_what_passed_waits_for_a_person(world: Any, waiting: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert world.aliases() == {"challenger": waiting}
    assert world.promote() == "wait"
    assert f"nothing to do ({waiting[:12]} passed and waits: `python -m tidegate approve" in capsys.readouterr().out


def test_an_approval_promotes_exactly_that_digest(world: Any, waiting: str) -> None:
    assert approve(world, waiting[:8]) == "promote"
    assert world.aliases() == {"champion": waiting, "best": waiting}
    (entry,) = (entry for entry in log.entries("channels") if entry["event"] == "approved")
    assert (entry["by"], entry["why"], entry["decision"]) == ("ada", ["read the card"], world.decision())
    assert world.promote() == "done"


def test_an_approval_needs_nothing_of_the_checkout(world: Any, waiting: str) -> None:
    later = world.decide("c2", verdict="fail")
    world.promote()
    assert approve(world, waiting) == "promote"
    assert world.aliases() == {"champion": waiting, "best": waiting, "challenger": later}


@pytest.mark.parametrize("digest", ["", "f" * 12, "ffff"])
def test_a_digest_that_was_not_judged_cannot_be_approved(world: Any, waiting: str, digest: str) -> None:
    with pytest.raises(RegistryError, match=f"the latest: {waiting[:12]}"):
        approve(world, digest)
    assert world.log("approved") == []


def test_what_fails_cannot_be_approved(world: Any) -> None:
    digest = world.decide(verdict="fail")
    world.promote()
    with pytest.raises(RegistryError, match="cannot be approved: the verdict is fail"):
        approve(world, digest)
    assert world.aliases() == {"challenger": digest}


def test_an_approval_that_expired_counts_no_more(world: Any, waiting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: 0.0)  # long ago
        patch.setattr(promotion, "settle", lambda *_, **__: "wait")  # killed before it was carried out
        approve(world, waiting)
    assert world.promote() == "wait"
    assert world.aliases() == {"challenger": waiting}


def test_an_approval_that_was_not_carried_out_is_carried_out_by_the_next_run(
    world: Any, waiting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(promotion, "settle", lambda *_, **__: "wait")
        approve(world, waiting)
    assert world.promote() == "promote"
    assert world.aliases() == {"champion": waiting, "best": waiting}


def test_an_approval_is_of_one_decision_not_of_the_next_on_the_same_candidate(world: Any, waiting: str) -> None:
    approve(world, waiting)
    other = world.decide("c2", champion=waiting)
    assert world.promote() == "wait"
    world.decide("c2", champion=waiting, reasons=["judged anew"])
    assert world.promote() == "wait"
    assert world.aliases()["champion"] == waiting
    assert approve(world, other) == "promote"


def test_an_approval_after_the_champion_changed_is_refused(world: Any, waiting: str) -> None:
    other = world.decide("c2")
    world.promote()
    approve(world, other)
    with pytest.raises(StaleDecisionError, match=f"the champion is {other[:12]} now"):
        approve(world, waiting)
    assert world.aliases()["champion"] == other


def test_what_is_rejected_is_never_promoted_nor_approved(world: Any, waiting: str) -> None:
    people.reject(world.root, waiting, by="ada", why="too slow")
    assert world.aliases() == {}
    with pytest.raises(RegistryError, match=r"was rejected by ada at .*\(too slow\)"):
        approve(world, waiting)
    world.policy("auto")
    assert world.promote() == "denied"
    assert world.aliases() == {}


def test_the_champion_is_not_rejected_but_rolled_back(world: Any) -> None:
    (digest,) = world.crowned("c1")
    with pytest.raises(RegistryError, match="is the champion"):
        people.reject(world.root, digest, by="ada", why="")
    assert world.aliases()["champion"] == digest


def test_a_rollback_puts_the_previous_champion_back(world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = world.crowned("c1", "c2")
    assert world.rollback() == first
    assert world.aliases() == {"champion": first, "best": first}
    assert (
        f"{first[:12]} is the champion of channels; {second[:12]} and its recipe are denied" in capsys.readouterr().out
    )


def test_no_scheduled_run_undoes_a_rollback(world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = world.crowned("c1", "c2")
    world.rollback()
    for _ in range(2):  # the decision that stands, and one of the next run
        assert world.promote() == "denied"
        assert world.aliases() == {"champion": first, "best": first}
        assert world.decide("c2", champion=first) == second
    assert "rolled back by ada" in capsys.readouterr().out


def test_no_retraining_from_the_same_recipe_undoes_a_rollback(world: Any) -> None:
    first, _ = world.crowned("c1", "c2")
    world.rollback()
    world.decide("c2 by other hardware", champion=first, recipe="recipe of c2")
    assert world.promote() == "denied"
    assert world.aliases() == {"champion": first, "best": first}
    other = world.decide("c3", champion=first)
    assert world.promote() == "promote"
    assert world.aliases()["champion"] == other


def test_a_rollback_may_go_to_any_earlier_champion(world: Any) -> None:
    first, _, third = world.crowned("c1", "c2", "c3")
    world.rollback(to=1)
    assert world.aliases()["champion"] == first
    world.rollback(to=3)
    assert world.aliases()["champion"] == third


@pytest.mark.parametrize(
    ("to", "cause"),
    [(9, r"version 9 of 'channels': is not in the registry.*1, 2, 3"), (2, "is the champion already"), (3, "never")],
)
def test_a_rollback_goes_nowhere_else(world: Any, to: int, cause: str) -> None:
    _, second = world.crowned("c1", "c2")
    world.decide("c3", verdict="fail", champion=second)
    world.promote()
    before = world.everything()
    with pytest.raises(RegistryError, match=cause):
        world.rollback(to=to)
    assert world.everything() == before


def test_without_an_earlier_champion_there_is_no_rollback(world: Any) -> None:
    world.crowned("c1")
    with pytest.raises(RegistryError, match="has no earlier champion"):
        world.rollback()


def test_a_rollback_to_a_package_that_was_tampered_with_is_refused(world: Any) -> None:
    first, second = world.crowned("c1", "c2")
    (package_store.folder_of(first) / "package.json").write_text("{}")
    with pytest.raises(PackageError, match=first[:12]):
        world.rollback()
    assert world.aliases()["champion"] == second
    assert world.log("rolled_back") == []


def test_a_rollback_killed_before_the_alias_moved_is_finished_and_not_done_twice(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = world.crowned("c1", "c2", "c3")

    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reconciling, "reconcile", kill)
        with pytest.raises(KeyboardInterrupt):
            world.rollback()
    assert world.aliases()["champion"] == third
    assert world.rollback() == second
    assert world.aliases()["champion"] == second
    assert world.rollback() == first


def test_a_rollback_by_name_after_an_unfinished_one_goes_where_it_was_told(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _, third = world.crowned("c1", "c2", "c3")
    with monkeypatch.context() as patch:
        patch.setattr(reconciling, "reconcile", lambda *_: None)
        world.rollback()
    assert world.aliases()["champion"] == third
    assert world.rollback(to=1) == first
    assert world.aliases()["champion"] == first


def test_a_rollback_does_not_wait_for_a_promotion_that_proves_itself_in_service(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = world.crowned("c1", "c2")
    world.decide("c3", champion=second)
    monkeypatch.setattr("tidegate.serving.golden.largest_difference", lambda *_, **__: float(world.rollback() != first))
    with pytest.raises(StaleDecisionError, match=f"the champion is {first[:12]} now"):
        world.promote()
    assert world.aliases()["champion"] == first


def test_nobody_says_nothing(world: Any, waiting: str) -> None:
    with pytest.raises(RegistryError, match="names nobody"):
        people.approve(world.root, waiting, by=" ", why="")


def test_a_refused_approval_does_not_count_later(world: Any, waiting: str) -> None:
    other = world.decide("c2")
    world.promote()
    approve(world, other)
    with pytest.raises(StaleDecisionError):
        approve(world, waiting)
    assert [digest for _, digest in world.log("approved")] == [other]


def test_any_run_finishes_a_rollback(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = world.crowned("c1", "c2")
    with monkeypatch.context() as patch:
        patch.setattr(reconciling, "reconcile", lambda *_: None)
        world.rollback()
    assert world.promote() == "denied"
    assert world.aliases()["champion"] == first


def test_a_rollback_loads_no_pipeline(world: Any) -> None:
    """It has to take effect in seconds."""
    first, _ = world.crowned("c1", "c2")
    code = "import sys; from pathlib import Path; from tidegate.release.people import rollback\n"
    code += "rollback(Path.cwd(), to=None, by='ada', why='rude')\n"
    code += "assert not {'dvc', 'torch', 'transformers', 'onnxruntime', 'prefect'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=world.root, check=True)
    assert registry.read(world.uri, "channels").alias("champion").digest == first
