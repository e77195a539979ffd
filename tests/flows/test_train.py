"""The training flow on toy pipelines: what runs at once, what alone, what after a failure and after a kill.

Stages wait for each other through files, so that what has to run at once would never end one after the other.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

pytestmark = pytest.mark.slow

Make = Callable[..., Path]
TOY = """
import os, pathlib, sys, time
name, *words = sys.argv[1:]
log = os.environ.get("TIDEGATE_LOG")
def note(what):
    with open("notes.txt", "a") as notes: notes.write(f"{what} {name}\\n")
if log:
    with open(log, "a") as stream: stream.write(f"{name} speaks\\nand again\\n")
note("start")
for word in words:
    verb, _, what = word.partition(":")
    path = pathlib.Path(what)
    if verb == "put": path.write_text(name)
    if verb == "copy": pathlib.Path(f"{name}.txt").write_text(path.read_text())
    if verb == "sign": path.write_text(str(os.getpid()))
    if verb == "nap": time.sleep(float(what))
    if verb == "await":
        end = time.monotonic() + 60
        while not path.exists():
            if time.monotonic() > end: sys.exit(f"no {what} in 60 s")
            time.sleep(0.02)
    if verb == "fail-unless" and not path.exists(): sys.exit(7)
note("end")
"""


def toy(
    name: str, *words: str, deps: tuple[str, ...] = (), alone: bool = False, copies: str | None = None
) -> dict[str, Any]:
    """A stage that makes `NAME.txt` of the outputs of others."""
    makes = f"copy:{copies}.txt" if copies else f"put:{name}.txt"
    command = " ".join([sys.executable, "-S", "toy.py", name, *words, makes])
    return {"cmd": command, "deps": [f"{dep}.txt" for dep in deps], "outs": [f"{name}.txt"], "meta": {"alone": alone}}


DIAMOND = {
    "top": toy("top", deps=("in",)),
    "left": toy("left", "sign:left.here", "await:right.here", deps=("top",)),
    "right": toy("right", "sign:right.here", "await:left.here", deps=("top",)),
    "end": toy("end", deps=("left", "right")),
}


@pytest.fixture(scope="session", autouse=True)
def prefect() -> Iterator[None]:
    """One temporary server and database for all tests here."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def pipeline(repository: Make, monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(stages: dict[str, Any]) -> Path:
        root = repository({"dvc.yaml": yaml.safe_dump({"stages": stages}), "toy.py": TOY, "in.txt": "1"})
        monkeypatch.chdir(root)
        return root

    return make


def run(root: Path, at_once: int = 4) -> tuple[dict[str, str], list[str], str]:
    """Runs the pipeline in a flow: by stage the state of its task; all lines of its logs; why it failed."""
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, LogFilter
    from prefect.context import get_run_context

    from flows import train

    ids: list[Any] = []

    @flow(name="toy")
    def toy_flow() -> str:
        ids.append(get_run_context().flow_run.id)
        try:
            train.run_pipeline(root, at_once)
        except train.PipelineError as error:
            return str(error)
        return ""

    why = toy_flow()
    with get_client(sync_client=True) as client:
        wanted = FlowRunFilter(id={"any_": ids})
        tasks = client.read_task_runs(flow_run_filter=wanted)
        lines = logged(client, LogFilter(flow_run_id={"any_": ids}), [f"{t.name} speaks" for t in tasks if ran(t)])
    return {task.name: task.state.name for task in tasks}, lines, why


def ran(task: Any) -> bool:
    return task.state.name == "Completed"


def logged(client: Any, wanted: Any, expected: list[str]) -> list[str]:
    """Prefect sends logs in batches a moment later."""
    end = time.monotonic() + 30
    while True:
        lines = [log.message for log in client.read_logs(log_filter=wanted, limit=200)]
        if set(expected) <= set(lines) or time.monotonic() > end:
            return lines
        time.sleep(0.1)


def notes(root: Path) -> list[str]:
    path = root / "notes.txt"
    return path.read_text().splitlines() if path.exists() else []


def started(root: Path) -> list[str]:
    return sorted(note.removeprefix("start ") for note in notes(root) if note.startswith("start "))


def test_independent_stages_run_at_once_and_nothing_runs_too_early(pipeline: Make) -> None:
    root = pipeline(DIAMOND)
    states, lines, why = run(root)
    assert why == ""
    assert states == dict.fromkeys(DIAMOND, "Completed")
    order = notes(root)
    assert order[:2] == ["start top", "end top"]
    assert order[-2:] == ["start end", "end end"]
    assert {f"{name} speaks" for name in DIAMOND} <= set(lines)
    assert lines.count("and again") == 4

    states, _, why = run(root)  # and now nothing has changed
    assert (states, why) == (dict.fromkeys(DIAMOND, "Unchanged"), "")
    assert notes(root) == order


def test_a_change_that_stops_on_its_way_stops_the_rest(pipeline: Make) -> None:
    root = pipeline(DIAMOND)
    run(root)
    (root / "in.txt").write_text("2")  # top writes the same as before
    states, _, _ = run(root)
    assert states == {"top": "Completed", "left": "Unchanged", "right": "Unchanged", "end": "Unchanged"}
    assert started(root) == ["end", "left", "right", "top", "top"]


def test_a_change_runs_what_follows_though_it_was_not_stale_at_the_start(pipeline: Make) -> None:
    stages = {
        name: toy(name, deps=(dep,), copies=dep) for name, dep in (("one", "in"), ("two", "one"), ("three", "two"))
    }
    root = pipeline(stages)
    run(root)
    (root / "in.txt").write_text("2")
    states, _, why = run(root)
    assert (states, why) == (dict.fromkeys(stages, "Completed"), "")
    assert (root / "three.txt").read_text() == "2"


def test_no_more_stages_run_at_once_than_was_said(pipeline: Make) -> None:
    root = pipeline({f"s{i}": toy(f"s{i}", deps=("in",)) for i in range(3)})
    _, _, why = run(root, at_once=1)
    assert why == ""
    order = notes(root)
    assert all(order[i].split()[1] == order[i + 1].split()[1] for i in (0, 2, 4))


def test_a_stage_that_measures_time_runs_alone(pipeline: Make) -> None:
    others = {f"s{i}": toy(f"s{i}", "nap:0.2", deps=("in",)) for i in range(3)}
    timers = {f"t{i}": toy(f"t{i}", "nap:0.2", deps=("in",), alone=True) for i in range(2)}
    root = pipeline({**others, **timers})
    states, _, why = run(root)
    assert why == ""
    assert set(states.values()) == {"Completed"}
    order = notes(root)
    for name in timers:
        start = order.index(f"start {name}")
        assert order[start + 1] == f"end {name}"
        assert sorted(note.split()[1] for note in order[:start]) == sorted([*{n.split()[1] for n in order[:start]}] * 2)


def test_a_failed_stage_stops_what_depends_on_it_and_nothing_else(pipeline: Make) -> None:
    stages = {
        "good": toy("good", deps=("in",)),
        "bad": toy("bad", "fail-unless:may.txt", deps=("in",)),
        "on_good": toy("on_good", deps=("good",)),
        "on_bad": toy("on_bad", deps=("bad",)),
        "on_both": toy("on_both", deps=("on_good", "on_bad")),
    }
    root = pipeline(stages)
    states, lines, why = run(root)
    assert {name for name, state in states.items() if state == "Completed"} == {"good", "on_good"}
    assert states["bad"] == "Failed"
    assert "bad failed; for that not run: " in why
    assert {"on_bad", "on_both"} == set(why.split("not run: ")[1].split(".")[0].split(", "))
    assert "bad speaks" in lines
    assert started(root) == ["bad", "good", "on_good"]

    (root / "may.txt").touch()
    states, _, why = run(root)
    assert why == ""
    assert {name for name, state in states.items() if state == "Unchanged"} == {"good", "on_good"}
    assert started(root) == ["bad", "bad", "good", "on_bad", "on_both", "on_good"]


def test_the_whole_flow_syncs_runs_and_promotes_in_this_order(
    pipeline: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from flows import train

    root, calls = pipeline(DIAMOND), []
    monkeypatch.setattr(train.pins, "sync", lambda _: calls.append(f"sync {len(notes(root))}"))
    monkeypatch.setattr(train.commands, "show_live_curves", lambda _: None)
    monkeypatch.setattr(train.promotion, "promote", lambda _: calls.append(f"promote {len(notes(root))}"))
    monkeypatch.setattr(train, "check", lambda _: None)  # it is about the stages of the project
    monkeypatch.setattr(train.promotion, "read_decision", lambda _: {"verdict": "pass"})
    monkeypatch.setattr(train.promotion, "read_evaluation", lambda _: {})
    monkeypatch.setattr(train, "result_table", lambda *_: "the table")
    monkeypatch.chdir(tmp_path)  # the flow works in its root, wherever it was started
    state = train.train(root=str(root), at_once=4, return_state=True)
    assert state.is_completed(), state
    assert calls == ["sync 0", "promote 8"]
    assert (tmp_path, 8) == (Path.cwd(), len(notes(root)))


def test_a_failed_pipeline_promotes_nothing_and_the_flow_says_why(
    pipeline: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import train

    root = pipeline({"bad": toy("bad", "fail-unless:may.txt")})
    monkeypatch.setattr(train, "check", lambda _: None)
    monkeypatch.setattr(train.pins, "sync", lambda _: None)
    monkeypatch.setattr(train.commands, "show_live_curves", lambda _: None)
    monkeypatch.setattr(train.promotion, "promote", lambda _: pytest.fail("promoted"))
    state = train.train(root=str(root), at_once=4, return_state=True)
    assert state.is_failed()
    assert "bad failed" in state.message
    monkeypatch.chdir(root)
    with pytest.raises(train.PipelineError, match=r"the training flow: .*bad failed"):
        train.main()


def test_a_second_flow_on_the_same_checkout_is_told_who_holds_it(
    pipeline: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import train
    from tidegate.reproduction import owning

    root = pipeline(DIAMOND)
    monkeypatch.setattr(train, "check", lambda _: None)
    with owning(root, "make repro"):
        state = train.train(root=str(root), return_state=True)
    assert state.is_failed()
    assert f"is held by `make repro` (process {os.getpid()}, since" in state.message
    assert notes(root) == []


def test_what_people_look_at_is_listed(pipeline: Make) -> None:
    from flows import train

    stages = {"one": {"cmd": "x", "outs": ["docs", "rows.parquet"], "metrics": ["m.json"], "plots": ["curve.csv"]}}
    root = pipeline(stages)
    (root / "docs").mkdir()
    (root / "docs" / "index.html").touch()
    assert train.reports(root) == ["docs/index.html", "m.json", "curve.csv"]


FLOW = """
import sys
from pathlib import Path
sys.path.insert(0, {repository!r})
from flows import train
train.check = train.pins.sync = train.promotion.promote = train.commands.show_live_curves = lambda _: None
train.promotion.read_decision = train.promotion.read_evaluation = lambda _: dict(verdict="pass")
train.result_table = lambda *_: ""
train.main()
"""


def test_a_killed_flow_leaves_no_orphan_and_the_next_one_does_what_is_missing(pipeline: Make, tmp_path: Path) -> None:
    stages = {
        "first": toy("first", deps=("in",)),
        "long": toy("long", "sign:long.here", "await:may.txt", deps=("first",)),
        "last": toy("last", deps=("long",)),
    }
    root = pipeline(stages)
    code = FLOW.format(repository=str(Path(__file__).resolve().parents[2]))
    own_server = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    own_server |= {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"}
    flow = subprocess.Popen([sys.executable, "-c", code], cwd=root, env=own_server)
    until(lambda: (root / "long.here").exists() and (root / "long.here").read_text(), "the stage to start", 200)
    family = psutil.Process(flow.pid).children(recursive=True)
    assert any("toy.py" in word for one in family for word in one.cmdline())
    (server,) = [one for one in family if "uvicorn" in one.cmdline()]
    assert server.environ()["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    flow.send_signal(signal.SIGKILL)
    flow.wait()
    until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in family), "all to end")

    (root / "may.txt").touch()
    states, _, why = run(root)
    assert why == ""
    assert states == {"first": "Unchanged", "long": "Completed", "last": "Completed"}
    assert started(root) == ["first", "last", "long", "long"]


def until(condition: Callable[[], Any], what: str, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.05)
