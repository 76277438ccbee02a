"""Query a device with a rate limit, a budget, retries after a lost connection, and no record queried twice."""

from __future__ import annotations

import fcntl
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy.typing as npt

from edgeaudit.agent.messages import ServedFacts
from edgeaudit.devices.transport import InferenceSession
from edgeaudit.errors import DeviceError, DeviceLost

__all__ = ["QueryBudget", "QueryPolicy", "RetryingSession", "one_at_a_time", "retry"]

_Result = TypeVar("_Result")

_FIRST_WAIT = 1.0
_LONGEST_WAIT = 60.0


@dataclass(frozen=True)
class QueryPolicy:
    """Limits on the queries to a device, as plain data that a job's inputs can hold.

    device: its name in audit.yaml, for messages. rate: records per second. retries: how often to restore a lost
    connection before giving up. max_queries, max_time: records and seconds, over all jobs that share one `QueryBudget`.
    """

    device: str
    rate: float | None = None
    retries: int = 6
    max_queries: int | None = None
    max_time: float | None = None


class QueryBudget:
    """Counts the records and seconds used on a device, in a file shared by processes: {entry: [records, seconds]}.

    The file outlives a run, so the budget holds for the whole audit even when it is resumed.
    """

    def __init__(self, path: Path, entry: str, policy: QueryPolicy) -> None:
        self._path, self._entry, self._policy = path, entry, policy

    def require_remaining(self, records: int) -> None:
        """Raise `DeviceError` if querying this many more records would exceed the budget."""
        queried, seconds = self._spent()
        max_queries, max_time, device = self._policy.max_queries, self._policy.max_time, self._policy.device
        if max_queries is not None and queried + records > max_queries:
            raise DeviceError(
                f"devices.{device}.max_queries: {queried:,} of {max_queries:,} records are used, and the next query "
                f"has {records:,}; answers so far are kept. Raise the limit and run again to continue"
            )
        if max_time is not None and seconds >= max_time:
            raise DeviceError(
                f"devices.{device}.max_time: queries took {seconds:.0f} seconds, and the limit is {max_time:.0f}; "
                "answers so far are kept. Raise the limit and run again to continue"
            )

    def record(self, records: int, seconds: float) -> None:
        """Add the cost of one query."""
        with _locked(self._path.with_suffix(".lock")):
            entries = self._read()
            queried, spent = entries.get(self._entry, (0, 0.0))
            entries[self._entry] = (queried + records, spent + seconds)
            draft = self._path.with_suffix(".new")
            draft.write_text(json.dumps(entries), encoding="utf-8")
            draft.replace(self._path)

    def _spent(self) -> tuple[int, float]:
        with _locked(self._path.with_suffix(".lock")):
            rows = self._read().values()
        return sum(int(queried) for queried, _ in rows), sum(float(seconds) for _, seconds in rows)

    def _read(self) -> dict[str, tuple[int, float]]:
        try:
            entries: dict[str, tuple[int, float]] = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return entries


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the device that this file stands for; waits for other processes to release it."""
    with _locked(path):
        yield


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the kernel releases it when the process exits, however it exits
        yield


@dataclass
class RetryingSession:
    """An inference session with the retries, rate limit and budget of a `QueryPolicy`.

    sleep, clock: in seconds; replaced in tests. queried: records answered. restored: times the connection was restored.
    """

    inner: InferenceSession
    policy: QueryPolicy
    budget: QueryBudget | None = None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    queried: int = 0
    restored: int = 0
    _free_at: float = field(default=0.0, init=False)

    def infer(self, model: str, native: npt.NDArray[Any], request: str) -> npt.NDArray[Any]:
        """As `InferenceSession.infer`. `DeviceError` if the budget is spent or the connection is not restored."""
        if self.budget is not None:
            self.budget.require_remaining(len(native))
        if (early := self._free_at - self.clock()) > 0:
            self.sleep(early)
        started = self.clock()
        answers = self._retry(lambda: self.inner.infer(model, native, request))
        self.queried += len(native)
        if self.budget is not None:
            self.budget.record(len(native), self.clock() - started)
        if self.policy.rate is not None:
            self._free_at = started + len(native) / self.policy.rate
        return answers

    def facts(self, model: str) -> ServedFacts:
        """As `InferenceSession.facts`."""
        return self._retry(lambda: self.inner.facts(model))

    def _retry(self, call: Callable[[], _Result]) -> _Result:
        return retry(call, self._restore, self.policy, self.sleep)

    def _restore(self) -> None:
        self.inner.restore()
        self.restored += 1


def retry(
    call: Callable[[], _Result],
    restore: Callable[[], None],
    policy: QueryPolicy,
    sleep: Callable[[float], None] = time.sleep,
) -> _Result:
    """Make a call; after a lost connection, restore it and repeat the call, with exponential backoff.

    Honors the server's Retry-After. Raises `DeviceError` if the connection is not back after `policy.retries` attempts.
    """
    lost: DeviceLost | None = None
    for attempt in range(policy.retries + 1):
        try:
            if lost is not None:
                sleep(max(_backoff(attempt), lost.after or 0.0))
                restore()
            return call()
        except DeviceLost as exc:
            lost = exc
    if policy.retries == 0:
        raise DeviceError(str(lost)) from lost
    raise DeviceError(
        f"the connection to the device '{policy.device}' was lost and not restored in {policy.retries} attempts: "
        f"{lost}. Answers so far are kept; run again to continue"
    ) from lost


def _backoff(attempt: int) -> float:
    """Seconds to wait before an attempt: doubled each time, with jitter so that workers do not reconnect in step."""
    return min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** (attempt - 1)) * random.uniform(0.75, 1.25)  # noqa: S311  no secret
