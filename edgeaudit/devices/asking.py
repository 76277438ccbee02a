"""Asking a device patiently: at a rate, within a budget, again where the connection was lost, and nothing twice."""

from __future__ import annotations

import fcntl
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy.typing as npt

from edgeaudit.devices.transport import Serving
from edgeaudit.errors import DeviceError, DeviceLost

__all__ = ["Ledger", "Pace", "Patient", "insist", "one_at_a_time"]

_Answer = TypeVar("_Answer")

_FIRST_WAIT = 1.0
_LONGEST_WAIT = 60.0


@dataclass(frozen=True)
class Pace:
    """How a device may be asked; as plain data, so that a job can be told.

    device: its name in audit.yaml, for messages. rate: records a second. retries: how often a lost connection is
    restored before it is given up. max_queries, max_time: records and seconds, of all that is entered in one ledger.
    """

    device: str
    rate: float | None = None
    retries: int = 6
    max_queries: int | None = None
    max_time: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


class Ledger:
    """What was asked of a device, in a file that several processes enter into: {entry: [records, seconds]}.

    It stays where the audit is resumed, so a budget is one for the audit and not for the run.
    """

    def __init__(self, path: Path, entry: str, pace: Pace) -> None:
        self._path, self._entry, self._pace = path, entry, pace

    def require_left(self, records: int) -> None:
        """Raise `DeviceError` where asking about so many more would exceed the budget."""
        asked, seconds = self._spent()
        most, longest, name = self._pace.max_queries, self._pace.max_time, self._pace.device
        if most is not None and asked + records > most:
            raise DeviceError(
                f"devices.{name}.max_queries: {asked:,} of {most:,} records were asked about, and {records:,} more are "
                "next; what was answered is kept. Raise it and run again to go on"
            )
        if longest is not None and seconds >= longest:
            raise DeviceError(
                f"devices.{name}.max_time: {seconds:.0f} seconds were spent asking, and {longest:.0f} are allowed; "
                "what was answered is kept. Raise it and run again to go on"
            )

    def enter(self, records: int, seconds: float) -> None:
        """Add what one question took."""
        with _locked(self._path.with_suffix(".lock")):
            found = self._read()
            asked, spent = found.get(self._entry, (0, 0.0))
            found[self._entry] = (asked + records, spent + seconds)
            draft = self._path.with_suffix(".new")
            draft.write_text(json.dumps(found), encoding="utf-8")
            draft.replace(self._path)

    def _spent(self) -> tuple[int, float]:
        with _locked(self._path.with_suffix(".lock")):
            rows = self._read().values()
        return sum(int(asked) for asked, _ in rows), sum(float(seconds) for _, seconds in rows)

    def _read(self) -> dict[str, tuple[int, float]]:
        try:
            found: dict[str, tuple[int, float]] = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return found


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other process asks the device of this file."""
    with _locked(path):
        yield


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the system lets go of it when the process ends, however it ends
        yield


@dataclass
class Patient:
    """A serving that is asked at its pace. Counts what it did.

    sleep, clock: seconds; for tests. restored: how often the connection had to be restored.
    """

    serving: Serving
    pace: Pace
    ledger: Ledger | None = None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    asked: int = 0
    restored: int = 0
    _free_at: float = field(default=0.0, init=False)

    def infer(self, model: str, native: npt.NDArray[Any], request: str) -> npt.NDArray[Any]:
        """As `Serving.infer`. `DeviceError` where the budget is spent, or the connection did not come back."""
        if self.ledger is not None:
            self.ledger.require_left(len(native))
        if (early := self._free_at - self.clock()) > 0:
            self.sleep(early)
        started = self.clock()
        answer = self._insist(lambda: self.serving.infer(model, native, request))
        self.asked += len(native)
        if self.ledger is not None:
            self.ledger.enter(len(native), self.clock() - started)
        if self.pace.rate is not None:
            self._free_at = started + len(native) / self.pace.rate
        return answer

    def facts(self, model: str) -> Mapping[str, Any]:
        """As `Serving.facts`."""
        return self._insist(lambda: self.serving.facts(model))

    def _insist(self, ask: Callable[[], _Answer]) -> _Answer:
        return insist(ask, self._restore, self.pace, self.sleep)

    def _restore(self) -> None:
        self.serving.restore()
        self.restored += 1


def insist(
    ask: Callable[[], _Answer], restore: Callable[[], None], pace: Pace, sleep: Callable[[float], None] = time.sleep
) -> _Answer:
    """Ask; where the connection is lost, restore it and ask the same again, waiting longer each time.

    A server that says for how long it is not to be asked is not asked before. `DeviceError` where it did not come back
    in `pace.retries` tries.
    """
    lost: DeviceLost | None = None
    for again in range(pace.retries + 1):
        try:
            if lost is not None:
                sleep(max(_wait(again), lost.after or 0.0))
                restore()
            return ask()
        except DeviceLost as exc:
            lost = exc
    if pace.retries == 0:
        raise DeviceError(str(lost)) from lost
    raise DeviceError(
        f"the device '{pace.device}' was lost and did not come back in {pace.retries} tries: {lost}. What was answered "
        "is kept; run again to go on"
    ) from lost


def _wait(again: int) -> float:
    """Seconds before the n-th try: doubled each time, and spread, so that two workers do not come back at once."""
    return min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** (again - 1)) * random.uniform(0.75, 1.25)  # noqa: S311  no secret
