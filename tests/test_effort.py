"""Time and energy of a training: parts add up, estimates are called estimates, nothing of it ends a training."""

import json
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tidegate import effort
from tidegate.effort import WATTS_A_CORE, Part, energy, measuring
from tidegate.energy import UnmeasuredError
from tidegate.fitting import Fitting
from tidegate.params import bind

FITTING: dict[str, Any] = {
    "epochs": 1, "batch_size": 1, "accumulate": 1, "rounds": 1, "learning_rate": 0.1, "weight_decay": 0.0,
    "warmup": 0.0, "schedule": "linear", "clip": None, "metric": "loss", "patience": None, "accelerator": "cpu",
    "devices": 1, "nodes": 1, "strategy": "auto", "precision": "auto", "seed": 1,
}  # fmt: skip


class Counter:
    """Says it has used 36 kJ, which is 0.01 kWh; or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.names = ["Card 0"]
        self.failure = failure

    def joules(self) -> float:
        if self.failure:
            raise self.failure
        return 36_000.0


def nothing_measured(*_: Any) -> Counter:
    raise UnmeasuredError("no counter here")


@pytest.fixture(autouse=True)
def _no_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "Rapl", nothing_measured)
    monkeypatch.setattr(effort, "Nvml", nothing_measured)


def settings(**changes: Any) -> Fitting:
    return bind(Fitting, FITTING | changes, section="train")


def part(**values: float | None) -> Part:
    return Part(**({"seconds": 1.0, "cpu_seconds": 1.0, "processors": None, "gpus": 0.0} | values))  # type: ignore[arg-type]


def measured(out: Path, **changes: Any) -> dict[str, Any]:
    with measuring(out, settings(**changes)) as meter:
        meter.go_on("k")
        meter.write(out)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_time_is_measured_and_energy_without_a_counter_is_estimated_from_it(tmp_path: Path) -> None:
    out = tmp_path / "train_effort.json"
    with measuring(out, settings()) as meter:
        meter.go_on("k")
        started = time.process_time()
        while time.process_time() < started + 0.2:
            pass
        meter.write(out)
    found = json.loads(out.read_text())
    assert found["seconds"] >= 0.2
    assert 0.2 <= found["cpu_seconds"] < 60
    assert found["parts"] == 1
    assert found["processor"]
    share = found["energy"]["processors"]
    assert share["how"] == "estimated"
    assert share["kwh"] == pytest.approx(found["cpu_seconds"] * WATTS_A_CORE / 3.6e6)
    assert "no counter here" in share["basis"]
    assert "10 W a core, which is an assumption" in share["basis"]
    assert found["energy"]["gpus"] is None
    assert found["energy"]["kwh"] == share["kwh"]


def test_counters_go_before_the_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "Rapl", Counter)
    monkeypatch.setattr(effort, "Nvml", lambda most: Counter())
    found = measured(tmp_path / "train_effort.json", accelerator="auto")
    assert found["gpus"] == ["Card 0"]
    assert {name: found["energy"][name]["how"] for name in ("processors", "gpus")} == {
        "processors": "measured", "gpus": "measured",
    }  # fmt: skip
    assert found["energy"]["kwh"] == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("changes", "cards"),
    [({"accelerator": "auto", "devices": 2}, [2]), ({"accelerator": "cuda", "devices": "auto"}, [None]), ({}, [])],
)
def test_only_cards_that_take_part_are_counted(
    changes: dict[str, Any], cards: list[int | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []
    monkeypatch.setattr(effort, "Nvml", lambda most: asked.append(most) or Counter())
    measured(tmp_path / "train_effort.json", **changes)
    assert asked == cards


def test_a_card_without_a_counter_leaves_the_sum_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(is_initialized=lambda: True)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=card, backends=None))
    found = measured(tmp_path / "train_effort.json", accelerator="auto")["energy"]
    assert found["gpus"] == {"kwh": None, "how": "not measured", "basis": "no counter here"}
    assert found["kwh"] is None
    assert found["processors"]["kwh"] > 0


@pytest.mark.parametrize("failure", [UnmeasuredError("it ended"), RuntimeError("odd")])
def test_a_counter_that_fails_ends_nothing(failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "Rapl", lambda: Counter(failure))
    share = measured(tmp_path / "train_effort.json")["energy"]["processors"]
    assert share["how"] == "estimated"
    assert str(failure) in share["basis"]


def killed(out: Path, key: str) -> None:
    with suppress(KeyboardInterrupt), measuring(out, settings()) as meter:
        meter.go_on(key)
        meter._started -= 100  # seconds ago
        raise KeyboardInterrupt


def test_the_parts_of_a_killed_training_add_up(tmp_path: Path) -> None:
    out = tmp_path / "train_effort.json"
    killed(out, "k")
    killed(out, "k")
    assert not out.exists()
    found = measured(out)
    assert found["parts"] == 3
    assert 200 <= found["seconds"] < 260
    assert [path.name for path in tmp_path.iterdir()] == ["train_effort.json"]


@pytest.mark.parametrize(
    "notes",
    [None, "no json", '{"key": "k", "parts": [{"hours": 1}]}', '{"key": "k", "parts": {"a": 1}}', '{"key": "k"}'],
)
def test_notes_of_another_training_and_damaged_ones_count_nothing(notes: str | None, tmp_path: Path) -> None:
    out = tmp_path / "train_effort.json"
    if notes is None:
        killed(out, "another")
    else:
        out.with_suffix(".partial").write_text(notes)
    found = measured(out)
    assert (found["parts"], found["seconds"] < 60) == (1, True)


def test_a_hard_kill_loses_what_came_after_the_last_look_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "_EVERY", 0.001)
    looked = threading.Event()
    with measuring(tmp_path / "train_effort.json", settings()) as meter:
        keep = meter.keep
        monkeypatch.setattr(meter, "keep", lambda: (keep(), looked.set()))
        meter.go_on("k")
        assert looked.wait(30)
        looked.clear()
        assert looked.wait(30)
        assert json.loads((tmp_path / "train_effort.partial").read_text())["key"] == "k"


def test_a_process_that_is_not_the_first_notes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    killed(tmp_path / "train_effort.json", "k")
    assert list(tmp_path.iterdir()) == []


def test_notes_that_cannot_be_written_end_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    killed(tmp_path / "file" / "train_effort.json", "k")


def test_no_thread_is_left(tmp_path: Path) -> None:
    measured(tmp_path / "train_effort.json")
    assert "effort" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    ("parts", "how", "kwh"),
    [
        ([part(processors=3.6e6), part(processors=7.2e6)], "measured", 3.0),
        ([part(cpu_seconds=360_000.0)], "estimated", 1.0),
        ([part(processors=3.6e6, cpu_seconds=180_000.0), part(cpu_seconds=180_000.0)], "estimated", 1.0),
    ],
)
def test_a_sum_is_measured_only_if_every_part_is(parts: list[Part], how: str, kwh: float) -> None:
    found = energy(parts, {})
    assert (found["processors"]["how"], found["kwh"]) == (how, pytest.approx(kwh))
