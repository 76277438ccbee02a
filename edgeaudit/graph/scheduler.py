"""The order of jobs: plan order after dependencies, exclusive jobs alone and last, crashed jobs once more alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from edgeaudit.errors import JobCrashed, OutdatedEntry, UnusableEntry
from edgeaudit.graph.executor import AnyJob, RunResult
from edgeaudit.graph.job import Outcome, Ref
from edgeaudit.graph.store import Store

__all__ = ["Scheduler"]

_MISREADS = 3
"""How many damaged entries one job may read before it fails."""


class Scheduler:
    """The state of one run. Jobs that the store already has count as finished."""

    def __init__(self, store: Store, jobs: Mapping[Ref, AnyJob]) -> None:
        self.result = RunResult()
        self._store = store
        self._jobs = dict(jobs)
        self._order = {ref: index for index, ref in enumerate(self._jobs)}
        self._pending: dict[Ref, AnyJob] = {}
        self._missing: dict[Ref, set[Ref]] = {}
        self._dependents: dict[Ref, list[Ref]] = {}
        self._crashes: dict[Ref, int] = {}
        self._dropped: set[Ref] = set()
        self._running: set[Ref] = set()
        self._misread: dict[Ref, int] = {}
        store.renew()
        wanted = {ref: job for ref, job in self._jobs.items() if not store.has(*ref)}
        for ref, job in wanted.items():
            self._await(ref, job, {need.ref for need in job.needs if need.ref in wanted})
        self._ready = [ref for ref in self._pending if not self._missing[ref]]

    @property
    def unfinished(self) -> bool:
        """Whether jobs are waiting to run."""
        return bool(self._pending)

    def _await(self, ref: Ref, job: AnyJob, missing: set[Ref]) -> None:
        self._pending[ref] = job
        self._missing[ref] = missing
        for need in missing:
            dependents = self._dependents.setdefault(need, [])
            if ref not in dependents:
                dependents.append(ref)

    def _alone(self, ref: Ref) -> bool:
        """Whether the job must run alone: it measures the machine, or crashed when it ran beside others."""
        return self._pending[ref].exclusive or ref in self._crashes

    def take_ready(self, count: int, *, idle: bool) -> Iterator[AnyJob]:
        """Up to `count` jobs that can run now, in plan order.

        idle: whether no job is running. Only then, and only if no other job is ready, one job that must run alone is
        returned; the caller waits for it before asking again.
        """
        self._ready.sort(key=lambda ref: (self._alone(ref), self._pending[ref].exclusive, self._order.get(ref, -1)))
        shared = sum(not self._alone(ref) for ref in self._ready)
        take = min(count, shared) if shared else min(count, len(self._ready), int(idle))
        for _ in range(take):
            ref = self._ready.pop(0)
            self._running.add(ref)
            yield self._pending.pop(ref)

    def repeat(self, job: AnyJob, outcome: Outcome) -> AnyJob | None:
        """The job that runs again because of this outcome; `job` is then not finished. None if no job is repeated.

        A crashed job runs again, alone, as often as its error allows; a job beyond a limit does not. A damaged or
        outdated entry of the store is dropped and computed again, once, and the jobs that read it wait for that. It is
        not computed again where that has failed in this run; `explained` then names that failure.
        """
        self._running.discard(job.ref)
        if isinstance(outcome.error, JobCrashed) and self._crashes.get(job.ref, 0) < outcome.error.retries:
            self._crashes[job.ref] = self._crashes.get(job.ref, 0) + 1
            self._await(job.ref, job, set())
            self._ready.append(job.ref)
            return job
        if isinstance(outcome.error, UnusableEntry):
            self._store.renew()
            return self._recompute(job, outcome.error)
        return None

    def _recompute(self, job: AnyJob, error: UnusableEntry) -> AnyJob | None:
        ref, maker = Ref(error.kind, error.key), _maker(job, error)
        self._misread[job.ref] = self._misread.get(job.ref, 0) + 1
        if maker is None or self._misread[job.ref] > _MISREADS or self._failed_for(maker) is not None:
            return None
        replaced = isinstance(error, OutdatedEntry) and self._misread[job.ref] == 1 and self._store.has(*ref)
        if ref not in self._dropped and not replaced:
            self._dropped.add(ref)
            self._store.drop(*ref)
            self.result.unusable.append(error)
            self._add(maker)
            self._hold_back(ref)
        # Else another job found it first, or another run did: the entry has been computed again, or soon will be.
        missing = {ref} if not self._store.has(*ref) else set()
        self._await(job.ref, job, missing)
        if not missing:
            self._ready.append(job.ref)
        return maker

    def _hold_back(self, ref: Ref) -> None:
        """Let pending jobs that read an entry wait for it."""
        for other, job in self._pending.items():
            if any(need.ref == ref for need in job.needs):
                self._await(other, job, self._missing[other] | {ref})
        self._ready = [candidate for candidate in self._ready if not self._missing[candidate]]

    def _add(self, job: AnyJob) -> None:
        """Schedule a finished job again, with those of its dependencies that the store lacks."""
        missing = set()
        for need in job.needs:
            scheduled = need.ref in self._pending or need.ref in self._running
            if scheduled or not self._store.has(*need.ref):
                missing.add(need.ref)
                if not scheduled:
                    self._add(need)
        self._await(job.ref, job, missing)
        if not missing:
            self._ready.append(job.ref)

    def _failed_for(self, job: AnyJob) -> Ref | None:
        """The failed job because of which one that has no entry cannot be run again; None if it can be."""
        if job.ref in self.result.errors or job.ref in self.result.blocked:
            return self.result.blocked.get(job.ref, job.ref)
        lacking = (need for need in job.needs if not self._store.has(*need.ref))
        return next((cause for need in lacking if (cause := self._failed_for(need)) is not None), None)

    def explained(self, job: AnyJob, outcome: Outcome) -> Outcome:
        """The outcome of a job that is not repeated, with the error that caused its own.

        An entry that the job found damaged may be one that could not be computed again.
        """
        error = outcome.error
        if not isinstance(error, UnusableEntry):
            return outcome
        maker = _maker(job, error)
        cause = None if maker is None else self._failed_for(maker)
        return outcome if cause is None else replace(outcome, error=self.result.errors[cause])

    def finish(self, job: AnyJob, outcome: Outcome) -> list[AnyJob]:
        """Record an outcome; returns the jobs that can no longer run."""
        self._running.discard(job.ref)
        self.result.executed += 1
        self.result.worker_peak_bytes = max(self.result.worker_peak_bytes, outcome.rss)
        if outcome.error is None:
            for dependent in self._dependents.get(job.ref, []):
                missing = self._missing[dependent]
                if job.ref in missing:
                    missing.discard(job.ref)
                    if not missing and dependent in self._pending:
                        self._ready.append(dependent)
            return []
        self.result.errors[job.ref] = outcome.error
        return self._block(job.ref, job.ref) + self._abandon(job.ref)

    def _block(self, failed: Ref, cause: Ref) -> list[AnyJob]:
        """Drop every job that depends on the failed one."""
        blocked: list[AnyJob] = []
        for dependent in self._dependents.get(failed, []):
            job = self._pending.pop(dependent, None)
            if job is not None:
                self.result.blocked[dependent] = cause
                blocked += [job, *self._block(dependent, cause)]
        return blocked

    def _abandon(self, cause: Ref) -> list[AnyJob]:
        """Drop jobs all of whose dependents were dropped: a format that failed on the target needs no shadows."""
        abandoned: list[AnyJob] = []
        for ref in reversed(list(self._pending)):
            dependents = self._dependents.get(ref, [])
            if dependents and all(d in self.result.blocked for d in dependents):
                abandoned.append(self._pending.pop(ref))
                self.result.blocked[ref] = cause
        self._ready = [ref for ref in self._ready if ref in self._pending]
        return abandoned


def _maker(job: AnyJob, error: UnusableEntry) -> AnyJob | None:
    """The direct or indirect dependency of a job that has an unusable entry; None if it has no such dependency."""
    return next((need for need in job.upstream() if need.ref == (error.kind, error.key)), None)
