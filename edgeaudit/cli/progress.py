"""The live progress view: what runs, how many of how many, time left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Self

from rich.live import Live
from rich.table import Table

from edgeaudit.cli.console import Console
from edgeaudit.errors import DamagedEntry, EdgeAuditError, OutdatedEntry
from edgeaudit.graph.estimate import Rates, typical_seconds
from edgeaudit.graph.executor import AnyJob
from edgeaudit.graph.job import Outcome, Ref
from edgeaudit.pipeline.engine import default_workers

__all__ = ["ProgressView", "clock"]

_WIDTH = 24
_ADOPT = "adopt"
_LINE_EVERY = 15.0


def clock(seconds: float) -> str:
    """12 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class ProgressView:
    """A `Listener` that draws. On a terminal a table is redrawn in place; otherwise a line now and then is printed.

    workers: jobs at a time; None for one a core. executed: jobs that were run since the plan was made.
    """

    def __init__(self, console: Console, workers: int | None) -> None:
        self._console = console
        self._workers = workers or default_workers()
        self._jobs: Mapping[Ref, AnyJob] = {}
        self._done: set[Ref] = set()
        self._rates = Rates()
        self._running: dict[Ref, tuple[AnyJob, float]] = {}
        self._failed = 0
        self.executed = 0
        self._last_line = time.monotonic()
        self._live = Live(get_renderable=self._draw, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def begin(self, jobs: Mapping[Ref, AnyJob], stored: set[Ref]) -> None:
        """See `Listener`."""
        self._jobs = jobs
        self._done = set(stored)
        self.executed = 0

    @property
    def planned(self) -> int:
        """How many jobs the audit has."""
        return len(self._jobs)

    def started(self, job: AnyJob) -> None:
        """See `Listener`."""
        self._running[job.ref] = (job, time.monotonic())

    def finished(self, job: AnyJob, outcome: Outcome) -> None:
        """See `Listener`."""
        self._running.pop(job.ref, None)
        self._done.add(job.ref)
        self.executed += 1
        if outcome.error is None:
            self._rates.learn(job, outcome.seconds)
        else:
            self._failed += 1
            why = "" if self._ends_audit(job) else f": {outcome.error}"  # told once, in the last line
            self._console.print(f"failed: {job.label}{why}", soft_wrap=True)
        self._line()

    def _ends_audit(self, job: AnyJob) -> bool:
        """Whether the error ends the audit, and is printed last: of what all formats need, or of the only file."""
        files = sum(other.kind == _ADOPT for other in self._jobs.values())
        return job.essential or (job.kind == _ADOPT and files == 1)

    def skipped(self, job: AnyJob) -> None:
        """See `Listener`."""
        self._done.add(job.ref)

    def _left(self) -> float | None:
        if self._rates.empty or not self._jobs:
            return None
        todo = [job for ref, job in self._jobs.items() if ref not in self._done]
        trained = next(
            (s for job in self._jobs.values() if job.kind == "train" and (s := self._rates.seconds(job))), 10.0
        )
        return sum(self._rates.seconds(job) or typical_seconds(job.cost(), trained) for job in todo) / self._workers

    def repeated(self, job: AnyJob, reason: EdgeAuditError) -> None:
        """See `Listener`."""
        self._running.pop(job.ref, None)
        self._done.discard(job.ref)
        text = f"again: {job.label}: {reason}"
        if isinstance(reason, DamagedEntry):
            text = f"damaged in the store: {reason.kind} {reason.key}: {reason.file}; it is made again: {job.label}"
        elif isinstance(reason, OutdatedEntry):
            text = f"out of date: {reason.file} was changed; it is made again: {job.label}"
        self._console.print(text, soft_wrap=True)

    def _kinds(self) -> tuple[str, ...]:
        """The stages of the plan, in the order in which they begin."""
        return tuple(dict.fromkeys(ref.kind for ref in self._jobs))

    def _counts(self, kind: str) -> tuple[int, int]:
        refs = [ref for ref in self._jobs if ref.kind == kind]
        return sum(1 for ref in refs if ref in self._done), len(refs)

    def _draw(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for kind in self._kinds():
            done, total = self._counts(kind)
            filled = _WIDTH * done // total
            bar = "━" * filled + "╺" * (_WIDTH - filled)
            running = [job.label for job, _ in self._running.values() if job.kind == kind]
            table.add_row(kind, bar, f"{done}/{total}", ", ".join(running))
        left = self._left()
        if left is not None:
            table.add_row(
                "", "", "", f"about {clock(left)} left" + (f", {self._failed} failed" if self._failed else "")
            )
        elif not self._jobs:
            table.add_row("reading the data")
        return table

    def _line(self) -> None:
        if not self._jobs or self._console.is_terminal or time.monotonic() - self._last_line < _LINE_EVERY:
            return
        self._last_line = time.monotonic()
        parts = [f"{kind} {done}/{total}" for kind in self._kinds() for done, total in [self._counts(kind)]]
        left = self._left()
        self._console.print(
            ", ".join(parts) + (f"; about {clock(left)} left" if left is not None else ""), soft_wrap=True
        )
