"""Repeated requests: which responses are cached, and for how long."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from edgeaudit.agent import memory
from edgeaudit.agent.memory import ResponseCache
from tests.agent.serving import Agent, serving, tensor


class Counting:
    """Gives answers of a size and counts how often it was made to."""

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self.count = 0

    def __call__(self) -> tuple[bytes, int | None]:
        self.count += 1
        return bytes([self.count % 256]) * self.size, None


def test_a_repeated_request_is_not_computed_again() -> None:
    cache, compute = ResponseCache(), Counting()
    first = cache.answer((b"one", b"q"), compute)
    assert cache.answer((b"one", b"q"), compute) == first
    assert compute.count == 1


@pytest.mark.parametrize("other", [(b"two", b"q"), (b"one", b"r"), (b"on", b"eq"), (b"oneq",), (b"one", b"q", b"")])
def test_different_requests_are_computed_separately(other: tuple[bytes, ...]) -> None:
    cache, compute = ResponseCache(), Counting()
    cache.answer((b"one", b"q"), compute)
    cache.answer(other, compute)
    assert compute.count == 2


def test_a_request_without_an_id_is_computed_each_time() -> None:
    cache, compute = ResponseCache(), Counting()
    for _ in range(3):
        cache.answer(None, compute)
    assert compute.count == 3


def test_the_oldest_response_is_evicted_first() -> None:
    cache, compute = ResponseCache(most_answers=2), Counting()
    for name in (b"a", b"b", b"c"):
        cache.answer((name,), compute)
    for name in (b"c", b"b"):
        cache.answer((name,), compute)
    assert compute.count == 3
    cache.answer((b"a",), compute)
    assert compute.count == 4


def test_total_bytes_are_limited_too() -> None:
    cache, compute = ResponseCache(most_bytes=100), Counting(40)
    for name in (b"a", b"b", b"c"):
        cache.answer((name,), compute)
    assert cache._bytes == 80
    assert len(cache._cached) == 2
    compute.size = 101  # too large to be cache, and it drives nothing else out
    cache.answer((b"large",), compute)
    assert cache._bytes == 80
    cache.answer((b"large",), compute)
    assert compute.count == 5


def test_failures_are_not_cached() -> None:
    cache, compute = ResponseCache(), Counting()

    def fail() -> tuple[bytes, int | None]:
        raise ValueError("this time")

    with pytest.raises(ValueError, match="this time"):
        cache.answer((b"q",), fail)
    cache.answer((b"q",), compute)
    assert compute.count == 1


def test_a_concurrent_repetition_waits_for_the_first() -> None:
    cache, compute = ResponseCache(), Counting()
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> tuple[bytes, int | None]:
        begun.set()
        assert go_on.wait(10)
        return compute()

    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(cache.answer((b"q",), slow))) for _ in range(4)]
    threads[0].start()
    assert begun.wait(10)
    for thread in threads[1:]:
        thread.start()
    time.sleep(0.05)
    assert cache.answer((b"another",), Counting()) == (b"\1", None)  # which waits for nobody
    assert not found
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert found == [(b"\1", None)] * 4
    assert compute.count == 1
    assert not cache._computing


def asked(agent: Agent, values: list[list[float]], **more: Any) -> Any:
    answer = agent.infer({"inputs": [tensor(values)], **more})
    assert answer.status == 200
    return answer.json


def answered(agent: Agent) -> int:
    count: int = agent.ask("GET", "/v2/edgeaudit/models/double").json["answered"]
    return count


def test_the_agent_counts_records_and_caches_by_request_id() -> None:
    with serving() as agent:
        first = asked(agent, [[1, 2], [3, 4], [5, 6]], id="block-1")
        assert first["id"] == "block-1"
        assert first["outputs"][0]["data"] == [2, 4, 6, 8, 10, 12]
        assert answered(agent) == 3
        assert asked(agent, [[1, 2], [3, 4], [5, 6]], id="block-1") == first
        assert answered(agent) == 3
        assert asked(agent, [[7, 8]], id="block-1")["outputs"][0]["data"] == [14, 16]  # another one of that name
        assert answered(agent) == 4
        asked(agent, [[7, 8]])
        asked(agent, [[7, 8]])
        assert answered(agent) == 6
        assert agent.infer({"inputs": [tensor([[1, 2]], "INT64")], "id": "bad"}).status == 400
        assert answered(agent) == 6


def test_the_cache_holds_more_responses_than_connections_that_may_be_lost() -> None:
    assert memory.MOST_ANSWERS > 16
    assert memory.MOST_BYTES <= 16 << 20  # of 512 MB, which the smallest board has
