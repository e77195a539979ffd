"""The way out of the pipeline, as a person goes it: approve, look, verify, take back, and run again."""

import shutil

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WHO = ("--by", "ada", "--why", "a test")


@pytest.fixture(scope="module")
def second(finished, clone, cache):
    """A clone whose champion was replaced by another candidate, after a person approved it."""
    made = clone("release", cache=cache)
    made.tidegate("repro")
    first = made.champion()
    assert first == finished[0].champion()
    made.edit("quantize", calibration_rows=60)  # other scales: another package
    made.edit("gate", mode="refresh", champion_margin=0.9, best_margin=0.9, slice_margin=0.9)
    made.edit("gate", negative_flips_ceiling=1.0)
    made.edit("promote", policy="manual")
    assert "waits: `python -m tidegate approve" in made.tidegate("repro")
    assert made.champion() == first
    candidate = made.json("decision.json")["candidate"]
    assert candidate != first
    assert "is the champion now" in made.tidegate("approve", candidate[:12], *WHO)
    assert made.champion() == candidate
    return made, first, candidate


def test_a_version_is_verified_from_what_was_kept(second):
    clone, _, _ = second
    recorded = clone.json("evaluation.json")["models"]["candidate"]
    output = clone.tidegate("verify", "2")
    assert (
        f"accuracy on {clone.json('evaluation.json')['rows']} test rows is {recorded['accuracy']['value']:.4f}"
        in output
    )
    clone.tidegate("verify", "1")  # its evidence lies in no checkout any more


def test_one_byte_of_a_package_is_named(second):
    clone, _, candidate = second
    model = clone.path / "var" / "packages" / candidate / "model.onnx"
    content = model.read_bytes()
    model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        for command in (("verify", "2"), ("promote",)):
            assert candidate in clone.tidegate(*command, code=2)
    finally:
        model.write_bytes(content)


def test_a_lost_registry_is_made_again_from_the_log(second):
    clone, _, candidate = second
    (clone.path / "var" / "mlflow.db").unlink()
    shutil.rmtree(clone.path / "var" / "mlflow")
    clone.tidegate("promote")
    assert clone.champion() == candidate
    assert len(clone.promotions()) == 2


def test_what_was_taken_back_stays_out_whatever_runs(second):
    clone, first, candidate = second
    clone.edit("promote", policy="auto")
    clone.tidegate("rollback", *WHO)
    assert clone.champion() == first
    for command in ("repro", "flow", "repro"):  # the first pins the old champion and judges anew
        output = clone.tidegate(command)
        assert "may not replace the champion: rolled back by ada" in output
        assert clone.json("decision.json")["candidate"] == candidate
        assert clone.champion() == first
    assert f"denied     {candidate[:12]}: rolled back by ada" in clone.tidegate("status")
