"""The executor interface: runs a graph of jobs and notifies a listener of each change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

from edgeaudit.errors import EdgeAuditError, SpecError, UnusableEntry
from edgeaudit.graph.job import Job, Outcome, Ref
from edgeaudit.graph.store import Store

__all__ = ["AnyJob", "Executor", "ExecutorSpec", "Limits", "Listener", "RunResult", "Silent", "raise_errors"]

AnyJob = Job[Any]


class Listener(Protocol):
    """Notified of every change; called in the main process."""

    def begin(self, jobs: Mapping[Ref, AnyJob], stored: set[Ref]) -> None:
        """A plan was made. stored: what of it the store has; `jobs` may grow while it is run."""

    def started(self, job: AnyJob) -> None:
        """A worker took the job."""

    def finished(self, job: AnyJob, outcome: Outcome) -> None:
        """The job ended, with or without an error."""

    def skipped(self, job: AnyJob) -> None:
        """The job was not run, since a job that it needs failed."""

    def repeated(self, job: AnyJob, reason: EdgeAuditError) -> None:
        """The job runs again: its process crashed, or its stored result was damaged or outdated."""


class Silent:
    """A listener that does nothing."""

    def begin(self, jobs: Mapping[Ref, AnyJob], stored: set[Ref]) -> None:
        """See `Listener`."""

    def started(self, job: AnyJob) -> None:
        """See `Listener`."""

    def finished(self, job: AnyJob, outcome: Outcome) -> None:
        """See `Listener`."""

    def skipped(self, job: AnyJob) -> None:
        """See `Listener`."""

    def repeated(self, job: AnyJob, reason: EdgeAuditError) -> None:
        """See `Listener`."""


@dataclass(frozen=True)
class Limits:
    """Limits of one job. seconds: wall time. memory: resident bytes of its process and its children."""

    seconds: float | None = None
    memory: int | None = None


@dataclass
class RunResult:
    """errors: failed job -> error. blocked: jobs that were not run -> the failed job that caused it.

    unusable: damaged and outdated entries of the store, which were dropped and computed again.
    """

    errors: dict[Ref, EdgeAuditError] = field(default_factory=dict)
    blocked: dict[Ref, Ref] = field(default_factory=dict)
    unusable: list[UnusableEntry] = field(default_factory=list)
    executed: int = 0
    worker_peak_bytes: int = 0

    def cause(self, job: AnyJob) -> EdgeAuditError | None:
        """The error because of which a job has no output; None if it has one."""
        return self.errors.get(self.blocked.get(job.ref, job.ref))

    def add(self, other: RunResult) -> None:
        """Merge the result of a further run of the same audit."""
        self.errors |= other.errors
        self.blocked |= other.blocked
        self.unusable += other.unusable
        self.executed += other.executed
        self.worker_peak_bytes = max(self.worker_peak_bytes, other.worker_peak_bytes)


@dataclass(frozen=True)
class ExecutorSpec:
    """name: value of `--executor`. summary: one line on where it runs jobs."""

    name: str
    summary: str


class Executor(ABC):
    """Runs jobs in the order of their dependencies; an exclusive job alone, after all others.

    A context manager: it is entered once per audit, and its workers live until it exits.

    store: holds the results of earlier jobs, and receives new ones.
    workers: number of concurrent jobs.
    import_path: folder of audit.yaml, for `module:function` references.
    limits: of each job.
    """

    spec: ClassVar[ExecutorSpec]

    def __init__(
        self, store: Store, workers: int, import_path: Path | None = None, limits: Limits | None = None
    ) -> None:
        if workers < 1:
            raise SpecError(f"workers must be an integer of at least 1, not {workers!r}")
        self.store = store
        self.workers = workers
        self.import_path = import_path
        self.limits = limits or Limits()

    def __enter__(self) -> Self:
        """Start. Workers may be started lazily, with the first job."""
        return self

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the workers."""

    @abstractmethod
    def run(self, jobs: Mapping[Ref, AnyJob], listener: Listener) -> RunResult:
        """Run the jobs that the store lacks. Errors and crashes of jobs are returned in the result."""


def raise_errors(result: RunResult) -> None:
    """Raise the first error, if any job failed."""
    for error in result.errors.values():
        raise error
