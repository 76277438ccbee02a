"""Retries, rate limit and budget of device queries, and a budget that several processes share."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgeaudit.agent.messages import Fingerprint, ServedFacts
from edgeaudit.devices.querying import QueryBudget, QueryPolicy, RetryingSession, one_at_a_time
from edgeaudit.devices.transport import InferenceSession
from edgeaudit.errors import DeviceError, DeviceLost, ProtocolError

BLOCK = np.arange(12, dtype=np.float32).reshape(4, 3)


class Flaky(InferenceSession):
    """Returns its input doubled, after raising the listed `faults` one by one; counts requests and restores."""

    def __init__(self, *faults: Exception | None, comes_back: bool = True) -> None:
        self.faults = list(faults)
        self.comes_back = comes_back
        self.requests: list[str] = []
        self.restored = 0

    def infer(self, model: str, native: npt.NDArray[Any], request: str) -> npt.NDArray[Any]:
        assert model == "model"
        self.requests.append(request)
        if self.faults and (fault := self.faults.pop(0)) is not None:
            raise fault
        return native * 2

    def facts(self, model: str) -> ServedFacts:
        assert model == "model"
        if self.faults and (fault := self.faults.pop(0)) is not None:
            raise fault
        return {"options": {"batch": 1}}

    def fingerprint(self) -> Fingerprint:
        return {}

    def restore(self) -> None:
        if not self.comes_back:
            raise DeviceLost("no route to host")
        self.restored += 1

    def close(self) -> None:
        return


class Clock:
    """A clock in seconds that advances by sleeping, and by `step` each time it is read."""

    def __init__(self, step: float = 0.0) -> None:
        self.now, self.step = 0.0, step
        self.slept: list[float] = []

    def __call__(self) -> float:
        self.now += self.step
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds


def retrying(
    session: InferenceSession, clock: Clock, budget: QueryBudget | None = None, **policy: Any
) -> RetryingSession:
    return RetryingSession(session, QueryPolicy("pi", **policy), budget, clock.sleep, clock)


def test_a_lost_request_is_retried_under_the_same_id_with_exponential_backoff() -> None:
    session, clock = Flaky(DeviceLost("cut"), DeviceLost("cut"), DeviceLost("cut")), Clock()
    device = retrying(session, clock)
    np.testing.assert_array_equal(device.infer("model", BLOCK, "q1"), BLOCK * 2)
    assert session.requests == ["q1"] * 4
    assert (device.restored, session.restored, device.queried) == (3, 3, len(BLOCK))
    for seconds, expected in zip(clock.slept, (1, 2, 4), strict=True):
        assert 0.75 * expected <= seconds <= 1.25 * expected


def test_backoff_is_capped_at_a_minute() -> None:
    session, clock = Flaky(*[DeviceLost("cut")] * 12), Clock()
    retrying(session, clock, retries=12).infer("model", BLOCK, "q")
    assert max(clock.slept) <= 75
    assert min(clock.slept[6:]) >= 45


def test_gives_up_after_the_last_retry_with_the_last_error() -> None:
    session, clock = Flaky(DeviceLost("cut"), comes_back=False), Clock()
    with pytest.raises(DeviceError, match=r"'pi' was lost and not restored in 2 attempts: no route to host.*run again"):
        retrying(session, clock, retries=2).infer("model", BLOCK, "q")
    assert session.requests == ["q"]
    assert len(clock.slept) == 2


def test_without_retries_the_error_is_passed_on_unchanged() -> None:
    with pytest.raises(DeviceError, match=r"^cut$"):
        retrying(Flaky(DeviceLost("cut")), Clock(), retries=0).infer("model", BLOCK, "q")


@pytest.mark.parametrize("fault", [DeviceError("refused (403)"), ProtocolError("nonsense")])
def test_a_refused_request_is_not_retried(fault: Exception) -> None:
    session, clock = Flaky(fault), Clock()
    with pytest.raises(type(fault), match=str(fault).split(" ")[0]):
        retrying(session, clock).infer("model", BLOCK, "q")
    assert (session.requests, clock.slept) == (["q"], [])


def test_facts_are_retried_too() -> None:
    assert retrying(Flaky(DeviceLost("cut")), Clock()).facts("model") == {"options": {"batch": 1}}


def test_the_rate_limit_holds_across_requests_and_the_first_does_not_wait() -> None:
    clock = Clock()
    device = retrying(Flaky(), clock, rate=2.0)  # four records take two seconds
    for _ in range(3):
        device.infer("model", BLOCK, "q")
    assert clock.slept == [2.0, 2.0]


def test_time_spent_on_a_response_counts_towards_the_rate() -> None:
    clock = Clock(step=5.0)
    device = retrying(Flaky(), clock, rate=2.0)
    for _ in range(3):
        device.infer("model", BLOCK, "q")
    assert clock.slept == []


def test_the_query_budget_is_shared_by_all_jobs_and_never_exceeded(tmp_path: Path) -> None:
    path, policy = tmp_path / "budget.json", QueryPolicy("pi", max_queries=10)
    first, second = (RetryingSession(Flaky(), policy, QueryBudget(path, job, policy)) for job in ("a", "b"))
    first.infer("model", BLOCK, "1")
    second.infer("model", BLOCK, "2")
    with pytest.raises(
        DeviceError, match=r"devices\.pi\.max_queries: 8 of 10 records are used, and the next query has 4"
    ):
        first.infer("model", BLOCK, "3")
    assert first.infer("model", BLOCK[:2], "4").shape == (2, 3)
    assert {job: row[0] for job, row in json.loads(path.read_text()).items()} == {"a": 6, "b": 4}


def test_the_time_budget_stops_after_the_request_that_exceeded_it(tmp_path: Path) -> None:
    policy, clock = QueryPolicy("pi", max_time=7.0), Clock(step=4.0)
    device = RetryingSession(Flaky(), policy, QueryBudget(tmp_path / "budget.json", "a", policy), clock.sleep, clock)
    device.infer("model", BLOCK, "1")
    device.infer("model", BLOCK, "2")
    with pytest.raises(DeviceError, match=r"devices\.pi\.max_time: queries took \d+ seconds, and the limit is 7"):
        device.infer("model", BLOCK, "3")


def test_a_lost_request_without_an_answer_is_not_counted(tmp_path: Path) -> None:
    path, policy = tmp_path / "budget.json", QueryPolicy("pi", retries=1)
    device = RetryingSession(
        Flaky(DeviceLost("cut"), DeviceLost("cut")), policy, QueryBudget(path, "a", policy), Clock().sleep, Clock()
    )
    with pytest.raises(DeviceError):
        device.infer("model", BLOCK, "1")
    assert not path.exists()


def record(path: str, job: str, times: int) -> None:
    for _ in range(times):
        QueryBudget(Path(path), job, QueryPolicy("pi")).record(3, 0.5)


def test_concurrent_processes_lose_no_count(tmp_path: Path) -> None:
    path = tmp_path / "budget.json"
    context = multiprocessing.get_context("spawn")
    # Both write to the same entry, too.
    workers = [context.Process(target=record, args=(str(path), "same", 40)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert json.loads(path.read_text()) == {"same": [240, 40.0]}


def hold(path: str, log: str) -> None:
    with one_at_a_time(Path(path)), Path(log).open("a") as file:
        for word in ("in", "out"):
            file.write(f"{word}\n")
            file.flush()


def test_one_process_at_a_time_holds_the_device(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    arguments = (str(tmp_path / "device.lock"), str(tmp_path / "log"))
    workers = [context.Process(target=hold, args=arguments) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "log").read_text().split() == ["in", "out"] * 3
