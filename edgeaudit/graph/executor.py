"""What an executor is: something that runs a graph of jobs and tells a listener how it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from edgeaudit.errors import EdgeAuditError
from edgeaudit.graph.job import Job, JobRef, Outcome

__all__ = ["Executor", "Listener", "RunResult", "raise_errors"]


class Listener(Protocol):
    """Told of every change; called in the main process."""

    def started(self, job: Job) -> None:
        """A worker took the job."""

    def finished(self, job: Job, outcome: Outcome) -> None:
        """The job ended, with or without an error."""

    def skipped(self, job: Job) -> None:
        """The job was not run: what it needs failed."""


@dataclass
class RunResult:
    """errors: the jobs that failed, and why. blocked: jobs that were not run, with the failed job behind them."""

    errors: dict[JobRef, EdgeAuditError] = field(default_factory=dict)
    blocked: dict[JobRef, JobRef] = field(default_factory=dict)
    executed: int = 0
    worker_peak_bytes: int = 0

    def cause(self, ref: JobRef) -> EdgeAuditError | None:
        """Why a job has no output; None where it has one."""
        return self.errors.get(self.blocked.get(ref, ref))


class Executor(Protocol):
    """Runs jobs whose needs are met until none is left; an exclusive one alone, and once no other can be run."""

    def run(self, jobs: Mapping[JobRef, Job], listener: Listener) -> RunResult:
        """Run what the store lacks. Job errors are values in the result; a dying worker raises `WorkerDied`."""


def raise_errors(result: RunResult) -> None:
    """Raise the first job's error, if any failed."""
    for error in result.errors.values():
        raise error
