"""What is seen of a training that is under way."""

import pytest

from tidegate.model.progress import Live, duration


def test_live_curves_get_every_figure() -> None:
    seen: list[tuple[dict[str, float], int]] = []
    live = Live(lambda: lambda figures, step: seen.append((figures, step)))
    live({"loss": 1.0}, 1)
    live({"loss": 0.5}, 2)
    assert seen == [({"loss": 1.0}, 1), ({"loss": 0.5}, 2)]


@pytest.mark.parametrize("fails_at", ["open", "log"])
def test_a_failure_of_the_live_curves_is_said_once_and_harms_nothing(
    fails_at: str, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def log(figures: dict[str, float], step: int) -> None:
        calls.append(step)
        raise ConnectionError("the server is away")

    def open_log():  # type: ignore[no-untyped-def]
        if fails_at == "open":
            raise ConnectionError("the server is away")
        return log

    live = Live(open_log)
    for step in range(3):
        live({"loss": 1.0}, step)
    assert capsys.readouterr().err.count("the server is away") == 1
    assert len(calls) == (fails_at == "log")


@pytest.mark.parametrize(("seconds", "words"), [(5, "5 s"), (125, "2 min"), (7200, "2.0 h")])
def test_durations_are_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words
