"""The whole way, as a person goes it: clone, run, run again, break, mend, kill, clone again."""

import subprocess
import sys
import time

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TASK = "tiny"


def end_state(clone) -> tuple:
    decision = clone.json("decision.json")
    return decision["verdict"], decision["candidate"], clone.champion(), len(clone.promotions())


def everything(clone) -> tuple:
    return (clone.path / "inputs.yaml").read_bytes(), (clone.path / "dvc.lock").read_bytes(), end_state(clone)


def test_one_command_ends_with_a_champion_that_passed_the_gate(finished):
    clone, output = finished
    decision = clone.json("decision.json")
    assert decision["verdict"] == "pass", output[-4000:]
    assert clone.champion() == decision["candidate"]
    assert [entry["candidate"] for entry in clone.promotions()] == [decision["candidate"]]
    assert "accuracy" in output
    assert "PASS" in output


def test_compression_makes_the_matrices_of_the_package_smaller(finished):
    clone, _ = finished
    student, pruned, quantized = (
        matrices(clone.path / "data" / folder / "model.onnx")
        for folder in ("exported/student", "exported/student_pruned", "packages/student_pruned_int8")
    )
    # Of 4 heads of width 12 two are left, of 96 neurons 48, of the words 90.
    assert {(48, 48), (48, 96), (96, 48)} <= set(student)
    assert {(48, 24), (24, 48), (48, 48), (90, 48)} <= set(pruned)
    assert not {(48, 96), (96, 48)} & set(pruned)
    assert (90, 48) in quantized
    sizes = {name: entry["bytes"] for name, entry in clone.json("comparison.json").items()}
    assert sizes["student_pruned_int8"] < sizes["student_pruned"] < sizes["student"] < sizes["teacher"]
    selection = clone.json("selection.json")
    sound = [name for name, difference in selection["differences"].items() if difference["low"] > -0.2]
    assert sound  # so it is a choice
    assert selection["chosen"] == min(sound, key=sizes.__getitem__)


def matrices(model) -> list:
    """The shapes of the matrices of an ONNX file."""
    import onnx

    return [tuple(values.dims) for values in onnx.load(model).graph.initializer if len(values.dims) == 2]


def test_a_second_run_runs_no_stage_moves_no_pin_and_promotes_nothing(finished):
    clone, _ = finished
    before = everything(clone)
    output = clone.tidegate("repro")
    assert "dvc repro: nothing to do" in output
    assert "promote: nothing to do" in output
    assert (
        (clone.path / "inputs.yaml").read_bytes(),
        (clone.path / "dvc.lock").read_bytes(),
        end_state(clone),
    ) == before
    assert "up to date" in clone.run("dvc", "status")


def test_a_run_with_nothing_to_do_loads_nothing_heavy(finished):
    clone, _ = finished
    code = (
        "import sys; from pathlib import Path; from tidegate.commands import repro; repro(Path.cwd());"
        "print('heavy:', sorted({'torch', 'mlflow', 'great_expectations', 'pandas'} & set(sys.modules)))"
    )
    assert "heavy: []" in clone.run(sys.executable, "-c", code)


def test_the_flow_ends_as_the_serial_run_does(finished, clone, cache):
    first, _ = finished
    second = clone("flow", cache=cache)
    output = second.tidegate("flow")
    assert end_state(second)[:2] == end_state(first)[:2]
    assert second.champion() == first.champion()
    again = second.tidegate("flow")
    assert "Unchanged" in again, output[-3000:]
    assert len(second.promotions()) == 1


def test_plain_dvc_repro_gives_the_decision_and_never_touches_the_registry(finished, clone, cache):
    first, _ = finished
    other = clone("plain", cache=cache)
    other.run("dvc", "repro")
    assert other.json("decision.json") == first.json("decision.json")
    assert not (other.path / "var" / "mlflow.db").exists()
    assert (other.path / "inputs.yaml").read_bytes() == (first.path / "inputs.yaml").read_bytes()


def test_a_second_clone_with_the_remote_of_the_first_pulls_and_has_nothing_to_do(finished, clone, tmp_path):
    first, _ = finished
    first.run("dvc", "remote", "add", "-d", "--local", "store", str(tmp_path / "remote"))
    first.run("dvc", "push")
    second = clone("pulled")
    (second.path / "dvc.lock").write_bytes((first.path / "dvc.lock").read_bytes())
    second.run("dvc", "remote", "add", "-d", "--local", "store", str(tmp_path / "remote"))
    second.run("dvc", "pull")
    assert "up to date" in second.run("dvc", "repro")
    assert second.json("decision.json") == first.json("decision.json")


def test_a_broken_stage_is_named_and_mending_it_runs_just_what_is_missing(finished, clone, cache):
    broken = clone("broken", cache=cache)
    broken.edit("tokenize", encoder=f"data/raw/encoder?sha256={'0' * 64}")
    output = broken.tidegate("repro", code=2)
    assert "is not what its pin says" in output
    assert "stage 'tokenize': ended with exit code 2" in output
    assert "Traceback" not in output
    broken.run("git", "checkout", "-q", "params.yaml")
    ran = next(line for line in broken.tidegate("repro").splitlines() if line.startswith("dvc repro: "))
    assert ran.startswith("dvc repro: tokenize, ")
    assert broken.champion() == finished[0].champion()


def test_wrong_params_of_any_stage_are_all_told_before_the_first_one_runs(clone, cache):
    wrong = clone("wrong", cache=cache)
    wrong.edit("gate", alpha=-1)
    wrong.edit("split", salt=3)
    output = wrong.tidegate("repro", code=2)
    assert "split.salt" in output
    assert "gate.alpha" in output
    assert "Running stage" not in output


@pytest.mark.parametrize("command", ["repro", "flow"])
def test_killed_in_the_middle_and_run_again_it_ends_the_same_without_orphans(finished, clone, cache, command):
    first, _ = finished
    victim = clone(f"killed-{command}")
    process = victim.start(sys.executable, "-m", "tidegate", command)
    wait_until(lambda: (victim.path / "data" / "tokens").exists(), process)  # training is next
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
    locked = (victim.path / "dvc.lock").read_text(encoding="utf-8")
    output = victim.tidegate("repro")
    ran = next(line for line in output.splitlines() if line.startswith("dvc repro: "))
    assert "ingest:" in locked
    assert "ingest" not in ran
    assert end_state(victim)[0] == "pass"
    assert len(victim.promotions()) == 1
    assert (victim.champion(), end_state(victim)[1]) == (first.champion(), end_state(first)[1])


def wait_until(condition, process, timeout_s: float = 300) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, f"ended early: {process.stdout.read()[-4000:]}"
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.05)


def test_two_runs_on_one_checkout_the_second_says_who_holds_it(clone, cache, finished):
    held = clone("held", cache=cache)
    code = (
        "import sys; from pathlib import Path; from tidegate.reproduction import owning\n"
        "with owning(Path.cwd(), 'make repro'):\n    print('held', flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=held.path, env=held.environment, **pipes)
    try:
        assert holder.stdout.readline().strip() == "held"
        output = held.tidegate("repro", code=2)
        assert f"`make repro` (process {holder.pid}" in output
    finally:
        holder.communicate("")
