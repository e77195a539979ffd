"""The command line: what each command calls, what errors look like, and that looking costs nothing."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidegate import __main__, binding, commands, registry, reproduction, scenario, sync
from tidegate.errors import PipelineError
from tidegate.files import write_json
from tidegate.registry_state import DIGEST, State, Version
from tidegate.release import people, promotion, verification

PARAMS = """\
ingest: {task: channels}
promote: {tracking_uri: null, policy: auto, approval_hours: 72, test_budget: null, golden_tolerance: 0.0001,
  figure_tolerance: 0.001, start_timeout_s: 60}
"""
WHO = ["--by", "ada", "--why", "it is rude"]
METRIC = {"value": 0.75, "low": 0.7, "high": 0.8}
EVALUATION = {
    "rows": 100, "groups": 50, "paired": {}, "same_as": {},
    "models": {
        "candidate": dict.fromkeys(("accuracy", "macro_f1", "log_loss", "expected_calibration_error"), METRIC)
    },
}  # fmt: skip
DECISION = {
    "task": "channels", "mode": "replace", "verdict": "pass", "reasons": ["better than the baseline"], "rules": [],
    "candidate": "c" * 64, "champion": None, "best": None, "recipe": "r", "evidence": {},
    "test": {"digest": "t" * 64, "rows": 100, "groups": 50, "supports": 7},
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path, var: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "clone"
    folder.mkdir()
    (folder / "params.yaml").write_text(PARAMS)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def judged(root: Path) -> Path:
    write_json(root / "data" / "evaluation.json", EVALUATION)
    write_json(root / "data" / "decision.json", DECISION)
    return root


@pytest.mark.parametrize(
    ("words", "place", "name", "given"),
    [
        (["repro"], commands, "repro", ("ROOT",)),
        (["sync"], sync, "sync", ("ROOT",)),
        (["promote"], promotion, "promote", ("ROOT",)),
        (["status"], commands, "status", ("ROOT",)),
        (["result"], commands, "print_result", ("ROOT",)),
        (["verify", "3"], verification, "verify", ("ROOT", 3)),
        (["rollback", *WHO], people, "rollback", ("ROOT", {"to": None, "by": "ada", "why": "it is rude"})),
        (["rollback", "--to", "2", *WHO], people, "rollback", ("ROOT", {"to": 2, "by": "ada", "why": "it is rude"})),
        (["approve", "abc", *WHO], people, "approve", ("ROOT", "abc", {"by": "ada", "why": "it is rude"})),
        (["reject", "abc", *WHO], people, "reject", ("ROOT", "abc", {"by": "ada", "why": "it is rude"})),
        (["use", "reviews"], scenario, "use", ("ROOT", "reviews")),
        (["sample", "a.csv", "--rows", "7"], commands, "sample", ("ROOT", Path("a.csv"), 7)),
        (["feedback", "a.csv", "--by", "ada"], commands, "feedback", ("ROOT", Path("a.csv"), {"by": "ada"})),
        (["serve"], commands, "serve", ("ROOT", None, {"host": "127.0.0.1", "port": 8000})),
        (
            ["serve", "a/b", "--host", "::", "--port", "0"],
            commands, "serve", ("ROOT", Path("a/b"), {"host": "::", "port": 0}),
        ),
    ],
)  # fmt: skip
def test_a_command_calls_what_does_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], place: Any, name: str, given: tuple[Any, ...]
) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(place, name, lambda *args, **kwargs: calls.append((*args, *([kwargs] if kwargs else []))))
    assert __main__.main(words) == 0
    assert calls == [tuple(root if word == "ROOT" else word for word in given)]


def test_every_stage_is_a_command(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(binding, "bound", lambda name, place: lambda: calls.append((name, place)))
    names = [path.stem for path in (Path(__main__.__file__).parent / "stages").glob("*.py") if path.stem != "__init__"]
    assert names
    for name in names:
        assert __main__.main([name]) == 0
    assert calls == [(name, root) for name in names]


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    heavy = {"torch", "mlflow", "dvc", "prefect", "polars", "numpy", "great_expectations", "transformers", "psutil"}
    code = "import sys; from tidegate.__main__ import main\n"
    code += f"try: main(['--help'])\nfinally: print(sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    for word in ("repro", "flow", "sync", "promote", "status", "result", "use", "serve", "ingest", "gate"):
        assert f"\n    {word} " in done.stdout


@pytest.mark.parametrize(
    "words", [[], ["nonsense"], ["use"], ["serve", "--port", "x"], ["repro", "extra"], ["rollback"], ["approve", "abc"]]
)
def test_a_wrong_command_line_ends_with_2_and_the_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        __main__.main(words)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: tidegate")


def test_an_error_that_a_user_can_mend_is_one_message_and_2(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["result"]) == 2
    shown = capsys.readouterr()
    path = root / "data" / "evaluation.json"
    assert shown.err == f"tidegate result: {path}: is missing. Run `dvc repro`, which makes it\n"
    assert shown.out == ""


def test_debug_shows_the_traceback_too(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["result", "--debug"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback (most recent call last):")
    assert "read_json" in shown
    assert shown.splitlines()[-1].startswith("tidegate result: ")


def test_an_error_of_ours_is_not_hidden(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Path) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(commands, "status", broken)
    with pytest.raises(ZeroDivisionError):
        __main__.main(["status"])


def test_an_interrupt_ends_quietly_with_130(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "status", interrupted)
    assert __main__.main(["status"]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", ["repro", "flow", "sync", "promote", "status", "result", "ingest", "gate", "serve"])
def test_in_a_wrong_folder_every_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert __main__.main([command]) == 2
    assert capsys.readouterr().err.startswith(f"tidegate {command}: ")
    assert list(tmp_path.iterdir()) == []


def test_the_output_goes_to_the_log_that_the_environment_names(root: Path, tmp_path: Path) -> None:
    log = tmp_path / "stage.log"
    log.write_text("before\n")
    code = "import subprocess, sys; from tidegate import __main__, commands\n"
    code += "def status(root):\n"
    code += "    print('said'); print('complained', file=sys.stderr); subprocess.run(['echo', 'child'])\n"
    code += "    import os; assert 'TIDEGATE_LOG' not in os.environ\n"
    code += "commands.status = status; sys.exit(__main__.main(['status']))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TIDEGATE_LOG": str(log)}, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert log.read_text() == "before\nsaid\ncomplained\nchild\n"


def test_telemetry_is_off_unless_the_user_wants_it(root: Path) -> None:
    from tidegate.quiet import quiet

    environment = {"DO_NOT_TRACK": "false"}
    quiet(environment)
    assert environment["DO_NOT_TRACK"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """These clones hold no stages: what `binding.check` looks at is not there."""
    monkeypatch.setattr(commands, "check", lambda root: None)


@pytest.mark.usefixtures("unchecked")
def test_repro_syncs_reproduces_promotes_and_shows_the_result(
    judged: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], var: Path
) -> None:
    (judged / ".dvc").mkdir()
    monkeypatch.setenv("TIDEGATE_LIVE", "to be restored")
    monkeypatch.setenv("TIDEGATE_LIVE_URI", "to be restored")
    order: list[str] = []
    monkeypatch.setattr(sync, "sync", lambda _: order.append("sync"))
    monkeypatch.setattr(reproduction, "reproduce", lambda _: order.append("reproduce") or ["one", "two"])
    monkeypatch.setattr(promotion, "promote", lambda _: order.append("promote"))
    commands.repro(judged)
    assert order == ["sync", "reproduce", "promote"]
    assert os.environ["TIDEGATE_LIVE_URI"] == f"sqlite:///{var / 'mlflow.db'}"  # for the training below this process
    shown = capsys.readouterr().out
    assert "dvc repro: one, two\n" in shown
    assert "0.750 (0.700 to 0.800)" in shown
    assert "PASS" in shown


@pytest.mark.usefixtures("unchecked")
def test_a_failed_pipeline_promotes_nothing(judged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise PipelineError("stage 'train'", "ended with exit code 1", "Mend it")

    (judged / ".dvc").mkdir()
    monkeypatch.setenv("TIDEGATE_LIVE", "to be restored")
    monkeypatch.setenv("TIDEGATE_LIVE_URI", "to be restored")
    monkeypatch.setattr(sync, "sync", lambda _: False)
    monkeypatch.setattr(reproduction, "reproduce", fail)
    monkeypatch.setattr(promotion, "promote", lambda _: pytest.fail("promoted"))
    assert __main__.main(["repro"]) == 2


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def say(**aliases: int) -> None:
        versions = {n: Version(number=n, tags={DIGEST: f"{n}" * 64}, run_id=None) for n in (1, 2)}
        state = State(versions=versions, aliases=aliases)
        monkeypatch.setattr(registry, "read", lambda uri, task: state)

    return say


@pytest.mark.usefixtures("unchecked")
def test_status_says_what_is_in_service_what_was_decided_and_what_is_stale(
    judged: Path, says: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    says(champion=2, best=1)
    monkeypatch.setattr(reproduction, "stale", lambda _: ["gate"])
    commands.status(judged)
    assert capsys.readouterr().out.splitlines() == [
        "task       channels, policy auto",
        "champion   version 2, 222222222222",
        "challenger none",
        "best       version 1, 111111111111",
        "decision   pass on cccccccccccc: better than the baseline",
        "test set   tttttttttttt decided about 0 of the 7 candidates it can",
        "stale      gate",
    ]


@pytest.mark.usefixtures("unchecked")
def test_status_before_the_first_run(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reproduction, "stale", lambda _: [])
    commands.status(root)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "champion   none",
        "challenger none",
        "best       none",
        "decision   none yet: run `make repro`",
        "stale      nothing",
    ]


def test_what_is_served_is_the_named_package_or_the_champion(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tidegate.serving import server, settings

    served: list[Any] = []
    monkeypatch.setattr(settings, "read", lambda place: ("settings of", place))
    for name in ("serve_champion", "serve_package"):
        monkeypatch.setattr(server, name, lambda what, how, name=name, **where: served.append((name, what, how, where)))
    where: dict[str, Any] = {"host": "127.0.0.1", "port": 0}
    commands.serve(root, None, **where)
    commands.serve(root, Path("x"), **where)
    assert served == [
        ("serve_champion", root, ("settings of", root), where),
        ("serve_package", Path("x"), ("settings of", root), where),
    ]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied", "var/registry.lock"), "var/registry.lock: Permission denied"),
        (OSError(30, "Read-only file system", "data/x"), "data/x: Read-only file system"),
        (RuntimeError("polars: No space left on device (os error 28)"), "no space is left on the disk"),
    ],
)
def test_what_the_system_refuses_is_told_without_a_traceback(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Path) -> None:
        raise error

    monkeypatch.setattr(sync, "sync", fail)
    assert __main__.main(["sync"]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told


def test_a_bug_is_not_told_as_a_mistake_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "sync", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        __main__.main(["sync"])
