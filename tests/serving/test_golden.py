"""A package is proven in a fresh process over HTTP: right answers pass, everything else is an error and ends it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tidegate.errors import RegistryError
from tidegate.package import Package
from tidegate.serving import golden

Make = Callable[..., Path]
TEXTS = ["a good film", "<b>bad</b> book", "fine", ""] * 10


@pytest.fixture(scope="module")
def requests() -> Callable[[Path], list[dict[str, Any]]]:
    def make(folder: Path) -> list[dict[str, Any]]:
        rows = Package.load(folder).predict(TEXTS).tolist()
        return [{"text": text, "probabilities": row} for text, row in zip(TEXTS, rows, strict=True)]

    return make


def services() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "serve" in child.cmdline()]


def test_a_served_package_answers_as_it_was_evaluated(
    package_folder: Make, requests: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nobody there; and no way to ourselves
    folder = package_folder()
    asked = requests(folder)
    assert golden.largest_difference(folder, asked, start_timeout_s=60) < 1e-6
    asked[35]["probabilities"][0] += 0.25  # beyond the first request
    assert golden.largest_difference(folder, asked, start_timeout_s=60) == pytest.approx(0.25, abs=1e-6)
    assert services() == []


def test_other_labels_are_no_small_difference(package_folder: Make) -> None:
    folder = package_folder()
    with pytest.raises(RegistryError, match="other labels"):
        golden.largest_difference(folder, [{"text": "good", "probabilities": [1.0]}], start_timeout_s=60)


def test_a_refused_request_is_an_error_and_the_service_ends(package_folder: Make) -> None:
    with pytest.raises(RegistryError, match="golden request with 422"):
        golden.largest_difference(package_folder(), [{"text": None, "probabilities": [1.0]}], start_timeout_s=60)
    assert services() == []


def test_a_damaged_package_is_an_error_that_repeats_what_the_service_said(package_folder: Make) -> None:
    folder = package_folder()
    (folder / "package.json").write_text("{")
    with pytest.raises(RegistryError, match=r"did not become ready \(tidegate serve: .*package\.json"):
        golden.largest_difference(folder, [{"text": "good", "probabilities": [1.0]}], start_timeout_s=60)


FAKES = {
    "never ready": "import time; time.sleep(600)",
    "silent": "",
    "ready and gone": "print('serving x on http://127.0.0.1:9', flush=True)",
    "deaf to the end": (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('serving x on http://127.0.0.1:9', flush=True); time.sleep(600)"
    ),
}


@pytest.mark.parametrize(
    ("fake", "words"),
    [
        ("never ready", r"did not become ready \(no output\)"),
        ("silent", r"did not become ready \(no output\)"),
        ("ready and gone", "gave no answer"),
        ("deaf to the end", "gave no answer"),
    ],
)
def test_a_service_that_does_not_work_is_an_error_and_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: str, words: str
) -> None:
    service = tmp_path / "python"
    service.write_text(f"#!{sys.executable} -S\n{FAKES[fake]}\n")
    service.chmod(0o755)
    monkeypatch.setattr(golden.sys, "executable", str(service))
    monkeypatch.setattr(golden, "leave_no_orphans", lambda: None)  # it starts Python, too
    monkeypatch.setattr(golden, "_STOP_TIMEOUT_S", 0.5)
    with pytest.raises(RegistryError, match=words) as caught:
        golden.largest_difference(tmp_path, [{"text": "a", "probabilities": [1.0]}], start_timeout_s=1)
    assert "Nothing was promoted" in caught.value.remedy
    assert [child for child in psutil.Process().children() if str(service) in child.cmdline()] == []


def test_the_time_to_start_does_not_limit_the_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timers: list[Any] = []

    class Timer(golden.threading.Timer):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            timers.append(self)

    service = tmp_path / "python"
    service.write_text(f"#!{sys.executable} -S\n{FAKES['deaf to the end']}\n")
    service.chmod(0o755)
    monkeypatch.setattr(golden.threading, "Timer", Timer)
    monkeypatch.setattr(golden.sys, "executable", str(service))
    monkeypatch.setattr(golden, "leave_no_orphans", lambda: None)
    monkeypatch.setattr(golden, "_STOP_TIMEOUT_S", 0.5)
    with golden.served(tmp_path, start_timeout_s=60) as address:
        assert address == "http://127.0.0.1:9"
        assert timers[0].finished.is_set()
