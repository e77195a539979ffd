"""Texts of several requests share a call, in order and bounded; alone a text does not wait."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tidegate.serving.batching import Batcher, ClosedError, OverloadedError

LONG = 30.0


class Calls:
    """Answers a text with its upper case; holds the calls while it is told to."""

    def __init__(self) -> None:
        self.made: list[list[str]] = []
        self.entered, self.free = threading.Semaphore(0), threading.Event()
        self.free.set()

    def __call__(self, texts: list[str]) -> list[str]:
        self.made.append(texts)
        self.entered.release()
        assert self.free.wait(LONG)
        if "broken" in texts:
            raise ValueError("broken")
        return [text.upper() for text in texts]


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def batcher(calls: Calls) -> Iterator[Callable[..., Batcher[str]]]:
    made: list[Batcher[str]] = []

    def make(**changes: Any) -> Batcher[str]:
        made.append(Batcher(calls, **({"batch_texts": 4, "wait_s": 0.0, "queue_texts": 8, "workers": 1} | changes)))
        return made[-1]

    yield make
    calls.free.set()
    for one in made:
        one.close()


def held(calls: Calls, batcher: Batcher[str]) -> Any:
    """A call that is under way until `calls.free` is set."""
    calls.free.clear()
    future = batcher.submit(["first"])
    assert calls.entered.acquire(timeout=LONG)
    return future


def test_what_waits_meanwhile_shares_the_next_call_and_each_gets_its_own(calls: Calls, batcher: Any) -> None:
    one = batcher()
    first = held(calls, one)
    others = [one.submit(["a", "b"]), one.submit(["c"])]
    assert one.waiting == 3
    calls.free.set()
    assert [[f.result(LONG) for f in futures] for futures in (first, *others)] == [[["FIRST"]], [["A", "B"]], [["C"]]]
    assert calls.made == [["first"], ["a", "b", "c"]]
    assert one.waiting == 0


def test_a_call_takes_no_more_than_it_may_and_long_requests_are_parted(calls: Calls, batcher: Any) -> None:
    one = batcher()
    first = held(calls, one)
    long, short = one.submit(list("abcdef")), one.submit(["g", "h", "i"][:2])
    calls.free.set()
    assert [f.result(LONG) for f in long] == [list("ABCD"), list("EF")]
    assert short[0].result(LONG) == ["G", "H"]
    assert first[0].result(LONG) == ["FIRST"]
    assert calls.made == [["first"], list("abcd"), list("efgh")]


def test_a_full_queue_refuses_all_texts_of_a_request_and_says_when_to_come_again(calls: Calls, batcher: Any) -> None:
    one = batcher()
    held(calls, one)
    one.submit(list("abcdefg"))
    with pytest.raises(OverloadedError) as caught:
        one.submit(["x", "y"])
    assert caught.value.retry_after_s >= 1
    assert one.waiting == 7
    one.submit(["z"])  # there is room for one


def test_a_broken_call_is_the_error_of_its_requests_alone(calls: Calls, batcher: Any) -> None:
    one = batcher()
    with pytest.raises(ValueError, match="broken"):
        one.submit(["broken"])[0].result(LONG)
    assert one.submit(["fine"])[0].result(LONG) == ["FINE"]


def test_nobody_computes_for_who_has_gone(calls: Calls, batcher: Any) -> None:
    one = batcher()
    held(calls, one)
    gone, stays = one.submit(["gone"]), one.submit(["stays"])
    assert gone[0].cancel()
    calls.free.set()
    assert stays[0].result(LONG) == ["STAYS"]
    assert calls.made == [["first"], ["stays"]]


def test_closing_works_off_what_waits_and_takes_nothing_more(calls: Calls, batcher: Any) -> None:
    one = batcher()
    held(calls, one)
    waiting = one.submit(["a"])
    closer = threading.Thread(target=one.close)
    closer.start()
    one.closing.wait(LONG)
    with pytest.raises(ClosedError):
        one.submit(["late"])
    calls.free.set()
    closer.join(LONG)
    assert waiting[0].result(0) == ["A"]


def test_alone_a_text_does_not_wait_for_company(calls: Calls, batcher: Any) -> None:
    one = batcher(wait_s=LONG)
    one.begin()
    started = time.monotonic()
    assert one.submit(["a"])[0].result(LONG) == ["A"]
    assert time.monotonic() - started < LONG / 2
    one.end()


def test_while_others_are_under_way_it_waits_for_them_until_the_call_is_full(calls: Calls, batcher: Any) -> None:
    one = batcher(wait_s=LONG)
    for _ in range(3):
        one.begin()
    futures = [one.submit([text]) for text in "ab"]
    assert not calls.entered.acquire(timeout=0.05)
    futures.append(one.submit(["c"]))  # now all three are here
    assert [f[0].result(LONG) for f in futures] == [["A"], ["B"], ["C"]]
    assert calls.made == [["a", "b", "c"]]


def test_it_waits_no_longer_than_its_deadline_and_not_for_who_left(calls: Calls, batcher: Any) -> None:
    one = batcher(wait_s=0.02)
    one.begin()
    one.begin()
    assert one.submit(["a"])[0].result(LONG) == ["A"]
    other = batcher(wait_s=LONG)
    other.begin()
    other.begin()
    future = other.submit(["b"])
    other.end()
    assert future[0].result(LONG / 2) == ["B"]


def test_what_waits_is_shared_among_the_workers_and_so_is_a_long_request(calls: Calls, batcher: Any) -> None:
    one = batcher(workers=2, batch_texts=8, queue_texts=20)
    calls.free.clear()
    long = one.submit(list("abcdefghij"))
    for _ in range(2):
        assert calls.entered.acquire(timeout=LONG)
    assert sorted(map(len, calls.made)) == [5, 5], "both are at work at once"
    waiting = [one.submit([text])[0] for text in "klmnop"]
    calls.free.set()
    assert "".join(text for future in (*long, *waiting) for text in future.result(LONG)) == "ABCDEFGHIJKLMNOP"
    assert all(len(texts) <= 3 for texts in calls.made[2:])
