"""No orphans: what a run started ends with it, however it ends. Real processes, waited for by polling."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tidegate import process

PATIENCE_S = 30
# Every process of a test writes its id here before it waits; the tree is complete when all have.
SIGN = "import os, sys, time; open(os.path.join({folder!r}, {name!r}), 'w').write(str(os.getpid())); "
SLEEP = "time.sleep(600)"


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE_S} s for: {what}"
        time.sleep(0.02)


class Tree:
    """Python programs that start each other; each is known by its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def program(self, name: str, *, first: str = "", starts: tuple[str, str] | None = None, shell: bool = False) -> str:
        """The command line of a program that does `first`, starts another (name, command), signs and waits."""
        code = "import subprocess, os, sys, time; " + first
        if starts:
            command = ["/bin/sh", "-c", f"{starts[1]}; true"] if shell else ["/bin/sh", "-c", f"exec {starts[1]}"]
            code += f"subprocess.Popen({command!r}); "
        path = self.folder / f"{name}.py"
        path.write_text(code + SIGN.format(folder=str(self.folder), name=name) + SLEEP)
        return f"{sys.executable} {path}"

    def start(self, command: str) -> "subprocess.Popen[bytes]":
        """In a process group of its own and with ears for the keyboard, as a terminal does."""
        return subprocess.Popen(
            command.split(), env=self.environment, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def wait_for(self, *names: str) -> dict[str, psutil.Process]:
        paths = {name: self.folder / name for name in names}
        until(lambda: all(path.exists() and path.read_text() for path in paths.values()), f"{names} to start")
        return {name: psutil.Process(int(path.read_text())) for name, path in paths.items()}

    def kill_all(self) -> None:
        for found in psutil.process_iter(["cmdline"]):
            if any(str(self.folder) in word for word in found.info["cmdline"] or ()):
                found.kill()


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    made = Tree(tmp_path)
    yield made
    made.kill_all()


def gone(one: psutil.Process) -> bool:
    return not one.is_running() or one.status() == psutil.STATUS_ZOMBIE


DIE = "from tidegate.process import die_with_starter; die_with_starter(); "
ALONE = "from tidegate.process import leave_no_orphans; leave_no_orphans(); leave_no_orphans(); "


@pytest.mark.parametrize("mark", ["DVC_STAGE", "MAKELEVEL"])
def test_a_process_dies_with_its_killed_starter_and_takes_its_own_children_along(tree: Tree, mark: str) -> None:
    tree.environment[mark] = "1"
    grandchild = tree.program("grandchild")
    child = tree.program("child", first=DIE, starts=("grandchild", grandchild))
    starter = tree.start(tree.program("starter", starts=("child", child), shell=True))
    found = tree.wait_for("child", "grandchild")
    assert found["child"].parent().name() in process._SHELLS  # the shell between them outlives the starter
    starter.kill()
    starter.wait()
    until(lambda: all(map(gone, found.values())), "the child and its own child to die")


def test_a_starter_that_is_dead_but_not_reaped_counts_as_dead(tree: Tree) -> None:
    tree.environment["DVC_STAGE"] = "1"
    starter = tree.start(tree.program("starter", starts=("child", tree.program("child", first=DIE))))
    child = tree.wait_for("child")["child"]
    os.kill(starter.pid, signal.SIGKILL)  # and no wait(): it stays a zombie
    until(lambda: gone(child), "the child to die")
    starter.wait()


def test_a_process_that_a_user_started_by_hand_watches_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    monkeypatch.delenv("MAKELEVEL", raising=False)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a watch was started")

    monkeypatch.setattr(process.threading, "Thread", refuse)
    process.die_with_starter()


def test_a_starter_that_vanishes_between_two_looks_counts_as_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    other = psutil.Process()

    def vanished() -> str:
        raise psutil.NoSuchProcess(other.pid)

    assert process._lives(other)
    monkeypatch.setattr(other, "status", vanished)
    assert not process._lives(other)


def test_a_child_that_is_gone_already_does_not_save_the_others() -> None:
    dead = subprocess.Popen([sys.executable, "-S", "-c", ""])
    found = psutil.Process(dead.pid)
    dead.wait()
    alive = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    process._kill([found, psutil.Process(alive.pid)])
    assert alive.wait(timeout=PATIENCE_S) == -signal.SIGKILL


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_a_run_started_ends_with_it_though_it_watches_nobody(tree: Tree, how: signal.Signals) -> None:
    grandchild = tree.program("grandchild")
    child = tree.program("child", starts=("grandchild", grandchild))
    run = tree.start(tree.program("run", first=ALONE, starts=("child", child), shell=True))
    found = tree.wait_for("run", "child", "grandchild")
    sentinels = [one for one in found["run"].children() if "tidegate.process" in one.cmdline()]
    assert len(sentinels) == 1  # though it was asked for twice
    run.send_signal(how)
    run.wait()
    until(lambda: all(map(gone, [*found.values(), *sentinels])), "everything that the run started to die")


def test_what_is_deaf_to_the_keyboard_ends_with_its_run_too(tree: Tree) -> None:
    deaf = tree.program("deaf", first="import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); ")
    run = tree.start(tree.program("run", first=ALONE, starts=("deaf", deaf)))
    found = tree.wait_for("run", "deaf")
    os.killpg(run.pid, signal.SIGINT)
    run.wait()
    until(lambda: gone(found["deaf"]), "the deaf one to die")


def test_another_run_is_spared(tree: Tree) -> None:
    one = tree.start(tree.program("one", first=ALONE, starts=("a", tree.program("a"))))
    two = tree.start(tree.program("two", first=ALONE, starts=("b", tree.program("b"))))
    found = tree.wait_for("one", "a", "two", "b")
    one.kill()
    one.wait()
    until(lambda: gone(found["a"]), "the child of the first to die")
    assert not gone(found["b"])
    assert two.poll() is None
    two.kill()
    two.wait()
    until(lambda: gone(found["b"]), "the child of the second to die")
