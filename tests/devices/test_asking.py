"""Patience: what is asked again and what is not, the pace, the budget, and accounts that several processes keep."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgeaudit.devices.asking import Ledger, Pace, Patient, one_at_a_time
from edgeaudit.devices.transport import Serving
from edgeaudit.errors import DeviceError, DeviceLost, ProtocolError

BLOCK = np.arange(12, dtype=np.float32).reshape(4, 3)


class Flaky(Serving):
    """Doubles what it is asked; raises what `faults` lists first, one at a time, and counts."""

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

    def facts(self, model: str) -> Mapping[str, Any]:
        assert model == "model"
        if self.faults and (fault := self.faults.pop(0)) is not None:
            raise fault
        return {"options": {"batch": 1}}

    def fingerprint(self) -> Mapping[str, Any]:
        return {}

    def restore(self) -> None:
        if not self.comes_back:
            raise DeviceLost("no route to host")
        self.restored += 1

    def close(self) -> None:
        return


class Clock:
    """Seconds that pass where somebody sleeps, and `step` at each look."""

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


def patient(serving: Serving, clock: Clock, ledger: Ledger | None = None, **pace: Any) -> Patient:
    return Patient(serving, Pace("pi", **pace), ledger, clock.sleep, clock)


def test_a_lost_question_is_asked_again_under_its_own_name_after_longer_and_longer_waits() -> None:
    serving, clock = Flaky(DeviceLost("cut"), DeviceLost("cut"), DeviceLost("cut")), Clock()
    asked = patient(serving, clock)
    np.testing.assert_array_equal(asked.infer("model", BLOCK, "q1"), BLOCK * 2)
    assert serving.requests == ["q1"] * 4
    assert (asked.restored, serving.restored, asked.asked) == (3, 3, len(BLOCK))
    for seconds, expected in zip(clock.slept, (1, 2, 4), strict=True):
        assert 0.75 * expected <= seconds <= 1.25 * expected


def test_waits_are_a_minute_at_most() -> None:
    serving, clock = Flaky(*[DeviceLost("cut")] * 12), Clock()
    patient(serving, clock, retries=12).infer("model", BLOCK, "q")
    assert max(clock.slept) <= 75
    assert min(clock.slept[6:]) >= 45


def test_a_device_that_does_not_come_back_is_given_up_with_what_it_last_said() -> None:
    serving, clock = Flaky(DeviceLost("cut"), comes_back=False), Clock()
    with pytest.raises(
        DeviceError, match=r"'pi' was lost and did not come back in 2 tries: no route to host.*run again"
    ):
        patient(serving, clock, retries=2).infer("model", BLOCK, "q")
    assert serving.requests == ["q"]
    assert len(clock.slept) == 2


def test_without_retries_the_error_is_the_devices_own() -> None:
    with pytest.raises(DeviceError, match=r"^cut$"):
        patient(Flaky(DeviceLost("cut")), Clock(), retries=0).infer("model", BLOCK, "q")


@pytest.mark.parametrize("fault", [DeviceError("refused (403)"), ProtocolError("nonsense")])
def test_a_refusal_is_not_asked_again(fault: Exception) -> None:
    serving, clock = Flaky(fault), Clock()
    with pytest.raises(type(fault), match=str(fault).split(" ")[0]):
        patient(serving, clock).infer("model", BLOCK, "q")
    assert (serving.requests, clock.slept) == (["q"], [])


def test_facts_are_asked_with_the_same_patience() -> None:
    assert patient(Flaky(DeviceLost("cut")), Clock()).facts("model") == {"options": {"batch": 1}}


def test_the_rate_is_kept_over_questions_and_the_first_need_not_wait() -> None:
    clock = Clock()
    asked = patient(Flaky(), clock, rate=2.0)  # four records are two seconds
    for _ in range(3):
        asked.infer("model", BLOCK, "q")
    assert clock.slept == [2.0, 2.0]


def test_time_that_answering_took_counts_for_the_rate() -> None:
    clock = Clock(step=5.0)
    asked = patient(Flaky(), clock, rate=2.0)
    for _ in range(3):
        asked.infer("model", BLOCK, "q")
    assert clock.slept == []


def test_a_budget_of_queries_is_for_all_jobs_and_never_exceeded(tmp_path: Path) -> None:
    path, pace = tmp_path / "ledger.json", Pace("pi", max_queries=10)
    first, second = (Patient(Flaky(), pace, Ledger(path, job, pace)) for job in ("a", "b"))
    first.infer("model", BLOCK, "1")
    second.infer("model", BLOCK, "2")
    with pytest.raises(DeviceError, match=r"devices\.pi\.max_queries: 8 of 10 records .* and 4 more are next"):
        first.infer("model", BLOCK, "3")
    assert first.infer("model", BLOCK[:2], "4").shape == (2, 3)
    assert {job: row[0] for job, row in json.loads(path.read_text()).items()} == {"a": 6, "b": 4}


def test_a_budget_of_time_ends_after_the_question_that_spent_it(tmp_path: Path) -> None:
    pace, clock = Pace("pi", max_time=7.0), Clock(step=4.0)
    asked = Patient(Flaky(), pace, Ledger(tmp_path / "ledger.json", "a", pace), clock.sleep, clock)
    asked.infer("model", BLOCK, "1")
    asked.infer("model", BLOCK, "2")
    with pytest.raises(DeviceError, match=r"devices\.pi\.max_time: \d+ seconds were spent asking, and 7 are allowed"):
        asked.infer("model", BLOCK, "3")


def test_what_was_lost_and_not_answered_is_not_on_the_account(tmp_path: Path) -> None:
    path, pace = tmp_path / "ledger.json", Pace("pi", retries=1)
    asked = Patient(Flaky(DeviceLost("cut"), DeviceLost("cut")), pace, Ledger(path, "a", pace), Clock().sleep, Clock())
    with pytest.raises(DeviceError):
        asked.infer("model", BLOCK, "1")
    assert not path.exists()


def enter(path: str, job: str, times: int) -> None:
    for _ in range(times):
        Ledger(Path(path), job, Pace("pi")).enter(3, 0.5)


def test_processes_that_enter_at_a_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    context = multiprocessing.get_context("spawn")
    # Both write to the same entry, too.
    workers = [context.Process(target=enter, args=(str(path), "same", 40)) for _ in range(2)]
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


def test_a_device_is_asked_by_one_process_at_a_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    arguments = (str(tmp_path / "device.lock"), str(tmp_path / "log"))
    workers = [context.Process(target=hold, args=arguments) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "log").read_text().split() == ["in", "out"] * 3
