"""Sync moves pins to what the registry says, holds still where the gate would judge a model against itself."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tidegate import params, registry, reproduction, sync
from tidegate.errors import ParamsError
from tidegate.files import write_json
from tidegate.registry_state import DIGEST, State, Version

PARAMS = """\
ingest: {task: channels}
promote: {tracking_uri: null, policy: auto, approval_hours: 72, test_budget: null, golden_tolerance: 0.0001,
  figure_tolerance: 0.001, start_timeout_s: 60}
"""
INPUTS = """\
# What the pipeline takes from the world.
champion: null # in service
best: null   # the best ever

# Rows that came back.
feedback: abc
"""
A, B = "a" * 64, "b" * 64


@pytest.fixture
def root(repository: Callable[..., Path], var: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose only stage reads the pin."""
    stage = {"cmd": "echo x > out.txt", "params": [{"inputs.yaml": ["champion", "best"]}], "outs": ["out.txt"]}
    pipeline = yaml.safe_dump({"stages": {"champion": stage}})
    made = repository({"params.yaml": PARAMS, "inputs.yaml": INPUTS, "dvc.yaml": pipeline, ".gitignore": "/data\n"})
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the registry say which digest stands behind an alias."""

    def say(**aliases: str) -> None:
        numbers = {digest: number for number, digest in enumerate(sorted(set(aliases.values())), start=1)}
        versions = {n: Version(number=n, tags={DIGEST: digest}, run_id=None) for digest, n in numbers.items()}
        state = State(versions=versions, aliases={alias: numbers[digest] for alias, digest in aliases.items()})
        monkeypatch.setattr(registry, "read", lambda uri, task: state if task == "channels" else State())

    return say


def pins(root: Path) -> dict[str, str | None]:
    return yaml.safe_load((root / "inputs.yaml").read_text())


def test_pins_follow_the_registry_and_comments_stay(
    root: Path, says: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    says(champion=A, best=B)
    assert sync.sync(root)
    expected = INPUTS.replace("champion: null", f"champion: {A}").replace("best: null", f"best: {B}")
    assert (root / "inputs.yaml").read_text() == expected
    assert f"champion of channels is now {A[:12]} (was none)" in capsys.readouterr().out
    says(best=A)
    assert sync.sync(root)
    assert pins(root) == {"champion": None, "best": A, "feedback": "abc"}
    assert "# in service" in (root / "inputs.yaml").read_text()


def test_nothing_to_do_moves_nothing(root: Path, says: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    says()
    before = (root / "inputs.yaml").stat()
    assert not sync.sync(root)
    assert (root / "inputs.yaml").stat() == before
    assert capsys.readouterr().out == "sync: no pin moved (champion of channels: none)\n"


@pytest.mark.parametrize(
    ("inputs", "pinned"),
    [
        ("feedback: null", {"champion": A, "best": A, "feedback": None}),
        ("champion:\nbest: ~ # none\nfeedback: 1\n", {"champion": A, "best": A, "feedback": 1}),
        (f"best: {B}\nchampion: '{B}'\n", {"best": A, "champion": A}),
        (f"champions: 1\nchampion: {B}\nmy champion: 2", {"champions": 1, "champion": A, "my champion": 2, "best": A}),
    ],
)
def test_pins_are_written_whatever_the_file_looks_like(
    root: Path, says: Callable[..., None], inputs: str, pinned: dict[str, str]
) -> None:
    (root / "inputs.yaml").write_text(inputs)
    says(champion=A, best=A)
    assert sync.sync(root)
    assert pins(root) == pinned
    assert not sync.sync(root)


def test_a_version_without_a_digest_is_not_pinned(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = Version(number=1, tags={}, run_id=None)
    state = State(versions={1: foreign}, aliases={"champion": 1})
    monkeypatch.setattr(registry, "read", lambda *_: state)
    assert not sync.sync(root)


@pytest.mark.parametrize(
    ("candidate", "stale", "moves"),
    [
        (None, [], True),  # no decision yet
        (A, [], False),  # the champion is the candidate of the decision: hold still
        (A, ["gate"], True),  # a new run is due anyway: compare it with the champion
        (B, [], True),  # another one was promoted since, from elsewhere
        (B, ["gate"], True),
    ],
)
def test_it_holds_still_while_the_gate_would_judge_a_model_against_itself(
    root: Path,
    says: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    candidate: str | None,
    stale: list[str],
    *,
    moves: bool,
) -> None:
    says(champion=A, best=A)
    monkeypatch.setattr(reproduction, "stale", lambda _: stale)
    if candidate:
        write_json(root / "data" / "decision.json", {"candidate": candidate})
    assert sync.sync(root) is moves
    assert pins(root)["champion"] == (A if moves else None)


def test_a_champion_that_was_withdrawn_is_unpinned(root: Path, says: Callable[..., None]) -> None:
    says(champion=A, best=A)
    sync.sync(root)
    write_json(root / "data" / "decision.json", {"candidate": A})
    says(best=A)
    assert sync.sync(root)
    assert pins(root) == {"champion": None, "best": A, "feedback": "abc"}


def test_holding_still_is_asked_of_dvc(root: Path, says: Callable[..., None]) -> None:
    says(champion=A, best=A)
    write_json(root / "data" / "decision.json", {"candidate": A})
    assert reproduction.reproduce(root) == ["champion"]
    assert not sync.sync(root)  # nothing is stale
    (root / "out.txt").write_text("changed by hand")
    assert sync.sync(root)
    assert reproduction.stale(root) == ["champion"]


def test_a_run_with_nothing_to_do_stays_light(root: Path, empty_registry: str) -> None:
    code = "import sys; from pathlib import Path; from tidegate.sync import sync\n"
    code += "assert not sync(Path.cwd()); assert not {'mlflow', 'torch', 'dvc', 'polars'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


@pytest.fixture
def labelled(root: Path, monkeypatch: pytest.MonkeyPatch, var: Path) -> Callable[[str], None]:
    """Gives a prediction a true label; the service has a log of its own then."""
    from tidegate.serving.prediction_log import Feedback, PredictionLog
    from tidegate.serving.tables import predictions

    serve = params.load(Path(__file__).parents[1] / "params.yaml")["serve"]
    (root / "params.yaml").write_text(PARAMS + yaml.safe_dump({"serve": serve}))
    row = {"id": "p", "at": 1.0, "model": "m", "text": "t", "label": "x", "probabilities": "[1.0]"}
    with PredictionLog("channels", None) as log, log.transaction() as connection:
        connection.execute(predictions.insert(), row | {"tokens": 1, "unknown": 0, "audit": 0, "document": None})

    def label(name: str) -> None:
        with PredictionLog("channels", None) as log:
            log.record_feedback([Feedback(prediction_id="p", label=name, by="ada", kind="audit")])

    return label


def test_new_labels_move_the_pin_and_with_it_the_others_and_then_all_hold_still(
    root: Path, says: Callable[..., None], monkeypatch: pytest.MonkeyPatch, var: Path, labelled: Callable[[str], None]
) -> None:
    says(champion=A, best=A)
    monkeypatch.setattr(reproduction, "stale", lambda _: [])
    write_json(root / "data" / "decision.json", {"candidate": A})
    assert not sync.sync(root), "a log without labels is no news"
    assert pins(root)["feedback"] == "abc"
    labelled("y")
    assert sync.sync(root)
    first = pins(root)
    assert first["champion"] == A
    assert (var / "feedback" / f"{first['feedback']}.parquet").exists()
    assert not sync.sync(root)
    labelled("z")
    assert sync.sync(root)
    assert pins(root)["feedback"] not in (first["feedback"], None)
    assert "# Rows that came back." in (root / "inputs.yaml").read_text()


def test_a_lost_log_moves_no_pin(
    root: Path, says: Callable[..., None], var: Path, labelled: Callable[[str], None]
) -> None:
    says()
    labelled("y")
    assert sync.sync(root)
    before = pins(root)
    (var / "predictions" / "channels.db").unlink()
    assert not sync.sync(root)
    assert pins(root) == before


def test_missing_pins_are_named(root: Path, says: Callable[..., None]) -> None:
    says()
    (root / "inputs.yaml").unlink()
    with pytest.raises(ParamsError, match=r"inputs\.yaml: there is no such file"):
        sync.sync(root)
