"""No key, no answer; a body has to be small and come in time."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tidegate.errors import ParamsError
from tidegate.serving.guards import Guard, Keys
from tidegate.serving.metrics import Metrics


@pytest.mark.parametrize(
    ("listed", "header", "name"),
    [
        ("abc", "Bearer abc", "key 1"),
        ("abc, shop:def", "Bearer def", "shop"),
        ("abc,shop:def", "bearer abc", "key 1"),
        ("abc", "Bearer abcd", None),
        ("abc", "Bearer", None),
        ("abc", "", None),
        ("abc", "Basic abc", None),
        ("shop:def", "Bearer shop:def", None),
        ("abc", "Bearer \udcff", None),
    ],
)
def test_whose_key_it_is(listed: str, header: str, name: str | None) -> None:
    assert Keys(listed).name(header) == name


@pytest.mark.parametrize("listed", ["", " , ", "shop:", "abc,shop:"])
def test_keys_that_are_none_are_refused_and_never_shown(listed: str) -> None:
    with pytest.raises(ParamsError, match="TIDEGATE_API_KEYS") as caught:
        Keys(listed)
    assert "abc" not in str(caught.value)


def test_without_a_listed_key_everybody_may_ask() -> None:
    assert not Keys(None)


@pytest.mark.parametrize(("path", "status"), [("/predict", 401), ("/feedback", 401), ("/odd", 401)])
def test_what_is_asked_of_the_model_needs_a_key(client: Callable[..., TestClient], path: str, status: int) -> None:
    one = client(keys="k")
    answer = one.post(path, json={"text": "good"})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert one.post(path, json={"text": "a"}, headers={"authorization": "Bearer k"}).status_code in (200, 404, 422)
    for open_path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
        assert one.get(open_path).status_code == 200


def guarded(receive: Callable[[], Any], headers: Any = (), **changes: Any) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def keep(message: Any) -> None:
        sent.append(message)

    async def never(*_: Any) -> None:
        raise AssertionError("the application was asked")

    how: dict[str, Any] = {"max_bytes": 95, "read_timeout_s": 30.0} | changes
    guard = Guard(never, keys=Keys(None), metrics=Metrics(), **how)
    asyncio.run(guard({"type": "http", "path": "/predict", "headers": list(headers)}, receive, keep))
    return sent


def test_reading_stops_at_the_limit_though_the_body_goes_on() -> None:
    read = []

    async def endless() -> dict[str, Any]:
        read.append(1)
        return {"type": "http.request", "body": b" " * 10, "more_body": True}

    assert guarded(endless)[0]["status"] == 413
    assert len(read) == 10


def test_a_body_that_announces_too_much_is_not_read() -> None:
    async def never() -> dict[str, Any]:
        raise AssertionError("it was read")

    assert guarded(never, [(b"content-length", b"50000000")])[0]["status"] == 413


def test_a_slow_body_is_given_up() -> None:
    async def stuck() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    sent = guarded(stuck, read_timeout_s=0.01)
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


def test_who_leaves_in_the_middle_gets_nothing() -> None:
    async def leave() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert guarded(leave) == []
