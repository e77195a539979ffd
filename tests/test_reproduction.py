"""DVC inside this process, on small repositories: what runs, what is kept, who may run, and what is said."""

import re
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tidegate import reproduction
from tidegate.errors import BusyError, PipelineError

Make = Callable[..., Path]
TOY = """
import os, pathlib, sys, time
name, *words = sys.argv[1:]
log = os.environ.get("TIDEGATE_LOG")
print(f"{name} speaks", file=open(log, "a") if log else sys.stdout)
with open("ran.txt", "a") as ran: ran.write(name + "\\n")
for word in words:
    verb, _, what = word.partition(":")
    path = pathlib.Path(what)
    if verb == "put": path.write_text(name)
    if verb == "sign": path.touch()
    if verb == "await":
        end = time.monotonic() + 60
        while not path.exists():
            if time.monotonic() > end: sys.exit(f"no {what} in 60 s")
            time.sleep(0.02)
    if verb == "fail-unless" and not path.exists(): sys.exit(7)
"""


def toy(name: str, *words: str, deps: tuple[str, ...] = (), outs: tuple[str, ...] = ()) -> dict[str, object]:
    """A stage that signs for itself and writes its outputs."""
    puts = [f"put:{out}" for out in outs]
    return {
        "cmd": " ".join([sys.executable, "-S", "toy.py", name, *words, *puts]),
        "deps": list(deps),
        "outs": list(outs),
    }


@pytest.fixture
def pipeline(repository: Make, monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(stages: dict[str, object], **files: str) -> Path:
        root = repository({"dvc.yaml": yaml.safe_dump({"stages": stages}), "toy.py": TOY, "in.txt": "1", **files})
        monkeypatch.chdir(root)
        return root

    return make


DIAMOND = {
    "top": toy("top", deps=("in.txt",), outs=("top.txt",)),
    "left": toy("left", "sign:left.here", "await:right.here", deps=("top.txt",), outs=("left.txt",)),
    "right": toy("right", "sign:right.here", "await:left.here", deps=("top.txt",), outs=("right.txt",)),
    "end": toy("end", deps=("left.txt", "right.txt"), outs=("end.txt",)),
}
CHAIN = {
    "one": toy("one", deps=("in.txt",), outs=("one.txt",)),
    "two": toy("two", "fail-unless:may.txt", deps=("one.txt",), outs=("two.txt",)),
    "three": toy("three", deps=("two.txt",), outs=("three.txt",)),
}


def ran(root: Path) -> list[str]:
    path = root / "ran.txt"
    return path.read_text().split() if path.exists() else []


def locked(root: Path) -> set[str]:
    return set(yaml.safe_load((root / "dvc.lock").read_text())["stages"])


def test_what_is_stale_runs_and_what_is_not_does_not(pipeline: Make) -> None:
    root = pipeline(CHAIN, **{"may.txt": ""})
    assert reproduction.stale(root) == ["one", "three", "two"]
    assert reproduction.reproduce(root) == ["one", "two", "three"]
    assert reproduction.stale(root) == []
    assert reproduction.reproduce(root) == []
    (root / "two.txt").unlink()
    assert reproduction.stale(root) == ["three", "two"]
    assert reproduction.reproduce(root) == ["two"]  # restored, not run again
    assert ran(root) == ["one", "two", "three"]


def test_a_failed_stage_is_named_and_what_was_finished_is_kept(pipeline: Make) -> None:
    root = pipeline(CHAIN)
    with pytest.raises(PipelineError, match="stage 'two': ended with exit code 7") as caught:
        reproduction.reproduce(root)
    assert "what was finished is kept" in caught.value.remedy
    assert locked(root) == {"one"}
    (root / "may.txt").touch()
    assert reproduction.reproduce(root) == ["two", "three"]
    assert ran(root) == ["one", "two", "two", "three"]


def test_a_failed_single_stage_is_named(pipeline: Make, tmp_path: Path) -> None:
    root = pipeline(CHAIN)
    log = tmp_path / "two.log"
    log.touch()
    assert reproduction.run_stage(root, "one", log)
    with pytest.raises(PipelineError, match="stage 'two': ended with exit code 7"):
        reproduction.run_stage(root, "two", log)
    assert locked(root) == {"one"}


def test_an_output_that_a_stage_does_not_write_is_named(pipeline: Make) -> None:
    root = pipeline({"lazy": {**toy("lazy"), "outs": ["never.txt"]}})
    with pytest.raises(PipelineError, match=r"stage 'lazy': .*never\.txt"):
        reproduction.reproduce(root)


def test_a_missing_input_is_named(pipeline: Make) -> None:
    root = pipeline({"one": toy("one", deps=("nowhere.csv",), outs=("one.txt",))})
    with pytest.raises(PipelineError, match=r"nowhere\.csv"):
        reproduction.reproduce(root)


def test_a_message_of_dvc_ends_with_one_full_stop(pipeline: Make) -> None:
    root = pipeline({"one": {**toy("one", outs=("one.txt",)), "params": ["nowhere"]}}, **{"params.yaml": "a: 1"})
    with pytest.raises(PipelineError, match=r"nowhere.*'params\.yaml'\. See the message above"):
        reproduction.reproduce(root)


def test_stages_of_several_threads_run_at_once_and_none_is_lost(
    pipeline: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dvc.lock.DEFAULT_TIMEOUT", 0)  # DVC gives up at once: it is our queue that has to hold
    branches = {f"b{i}": toy(f"b{i}", deps=("top.txt",), outs=(f"b{i}.txt",)) for i in range(6)}
    root = pipeline({**DIAMOND, **branches})
    log = tmp_path / "all.log"
    assert reproduction.run_stage(root, "top", log)
    with ThreadPoolExecutor(8) as pool:  # left and right wait for each other: one after the other would never end
        assert all(pool.map(lambda name: reproduction.run_stage(root, name, log), ["left", "right", *branches]))
    assert reproduction.run_stage(root, "end", log)
    assert locked(root) == {*DIAMOND, *branches}
    assert reproduction.stale(root) == []
    assert not reproduction.run_stage(root, "end", log)
    assert sorted(ran(root)) == sorted([*DIAMOND, *branches])


def test_a_single_stage_runs_without_what_it_needs(pipeline: Make, tmp_path: Path) -> None:
    root = pipeline(CHAIN, **{"may.txt": ""})
    reproduction.reproduce(root)
    (root / "in.txt").write_text("2")
    (root / "two.txt").unlink()
    assert reproduction.run_stage(root, "two", tmp_path / "two.log")  # restored
    assert reproduction.stale(root) == ["one"]
    assert ran(root) == ["one", "two", "three"]


def test_the_output_of_a_single_stage_goes_to_its_log(
    pipeline: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = pipeline(CHAIN)
    reproduction.run_stage(root, "one", tmp_path / "one.log")
    assert (tmp_path / "one.log").read_text() == "one speaks\n"
    assert "one speaks" not in capfd.readouterr().out


def test_the_output_of_a_command_of_ours_goes_to_its_log_errors_and_all(pipeline: Make, tmp_path: Path) -> None:
    root = pipeline({"result": {"cmd": f"{sys.executable} -m tidegate result", "outs": ["r.txt"]}})
    log = tmp_path / "result.log"
    with pytest.raises(PipelineError, match="stage 'result': ended with exit code 2"):
        reproduction.run_stage(root, "result", log)
    assert re.fullmatch(r"tidegate result: .*evaluation\.json: is missing\. .*\n", log.read_text())


def test_a_second_run_is_told_who_holds_the_checkout(pipeline: Make) -> None:
    root = pipeline(CHAIN)
    code = "import sys; from pathlib import Path; from tidegate.reproduction import owning\n"
    code += "with owning(Path.cwd(), 'make repro'): print('mine', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout
        assert first.stdout.readline() == "mine\n"
        words = rf"the checkout .*: is held by `make repro` \(process {first.pid}, since \d{{4}}-"
        with pytest.raises(BusyError, match=words), reproduction.owning(root, "the flow"):
            pass
        assert first.stdin
        first.stdin.close()
        first.wait()
    with reproduction.owning(root, "the flow"):
        pass


def test_a_checkout_held_by_this_very_process_is_busy_too(pipeline: Make) -> None:
    root = pipeline(CHAIN)
    with reproduction.owning(root, "first"):
        with pytest.raises(BusyError, match="`first`"), reproduction.owning(root, "second"):
            pass
        refused: list[BaseException] = []

        def try_it() -> None:
            try:
                with reproduction.owning(root, "third"):
                    pass
            except BusyError as error:
                refused.append(error)

        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
        assert len(refused) == 1


def test_a_killed_run_does_not_hold_the_checkout(pipeline: Make) -> None:
    root = pipeline(CHAIN)
    code = "import os; from pathlib import Path; from tidegate.reproduction import owning\n"
    code += "with owning(Path.cwd(), 'make repro'): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == -9
    with reproduction.owning(root, "the next"):
        pass


def test_a_lock_of_something_else_is_not_taken_for_the_checkout(pipeline: Make) -> None:
    from filelock import Timeout

    with pytest.raises(Timeout), reproduction.owning(pipeline(CHAIN), "first"):
        raise Timeout("another lock")


def test_a_run_works_in_its_checkout(pipeline: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = pipeline(CHAIN, **{"may.txt": ""})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is not the working directory"):
        reproduction.reproduce(root)  # DVC would look for the stages in the wrong place
    with reproduction.owning(root, "test"):
        assert reproduction.reproduce(root) == ["one", "two", "three"]
    assert Path.cwd() == tmp_path


def test_outside_of_a_repository_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (lambda: reproduction.stale(tmp_path), lambda: reproduction.owning(tmp_path, "x").__enter__()):
        with pytest.raises(PipelineError, match="is not a DVC repository"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_a_push_goes_to_the_default_remote_or_nowhere(pipeline: Make, tmp_path: Path) -> None:
    root = pipeline(CHAIN, **{"may.txt": ""})
    reproduction.reproduce(root)
    assert reproduction.push(root) is None
    config = root / ".dvc" / "config"
    config.write_text(f"[core]\n    remote = store\n['remote \"store\"']\n    url = {tmp_path / 'store'}\n")
    assert reproduction.push(root) == 6  # three outputs and three entries of the run-cache, which DVC counts each time
    assert reproduction.push(root) == 3


@pytest.mark.parametrize("damage", ["", "stages: ["])
def test_a_damaged_lock_file_is_named(pipeline: Make, damage: str) -> None:
    root = pipeline(CHAIN)
    (root / "dvc.lock").write_text(damage or "schema: '9'\n")
    with pytest.raises(PipelineError, match=r"dvc\.lock"):
        reproduction.reproduce(root)
