"""Local worker processes: one thread each, toolchains imported once, ended with the main process."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, connection, get_context, parent_process
from pathlib import Path

from edgeaudit.errors import WorkerDied
from edgeaudit.graph.executor import Listener, RunResult
from edgeaudit.graph.job import Job, JobRef, Outcome
from edgeaudit.graph.store import Store
from edgeaudit.graph.worker import execute
from edgeaudit.host.isolation import House, enter

__all__ = ["LocalProcesses"]

_WORKER_ENVIRONMENT = {
    # Two torch threads under load can be 30x slower than one (spin-wait), so parallelism is processes alone.
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "TFLITE_NUM_THREADS"), "1"
    ),
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "LITERT_TORCH_SHOW_PROGRESS": "n",
    "TQDM_DISABLE": "1",
    "CUDA_VISIBLE_DEVICES": "",  # a model trained on a GPU would not be a function of (records, seed, recipe) alone
}


class LocalProcesses:
    """`workers` jobs at a time in spawned processes.

    import_path: folder of audit.yaml, for `module:function` references.

    A job runs in a process of its house (`Job.hints`, see edgeaudit/host/isolation.py). Processes of a house are
    started when its first job comes and wait for more, so with two houses there may be twice as many processes as
    `workers`; that many run a job.
    """

    def __init__(self, store: Store, workers: int, import_path: Path | None = None) -> None:
        self.store = store
        self.workers = workers
        self.import_path = import_path
        self._logs = store.root / "logs"

    def run(self, jobs: Mapping[JobRef, Job], listener: Listener) -> RunResult:
        """See `Executor.run`."""
        state = _Graph(self.store, jobs)
        if not state.pending:
            return state.result
        logs = self._logs
        logs.mkdir(parents=True, exist_ok=True)
        with _environment(_WORKER_ENVIRONMENT):
            pools: dict[House, ProcessPoolExecutor] = {}
            running: dict[Future[Outcome], Job] = {}
            try:
                self._loop(pools, state, running, listener)
            except BrokenProcessPool as exc:
                busy = ", ".join(sorted(job.label for job in running.values())) or "start-up"
                raise WorkerDied(
                    f"a worker process died during: {busy}. Killed from outside, or out of memory: try --workers 1. "
                    f"Its output is in {logs}. Finished work is kept; run again to go on"
                ) from exc
            except KeyboardInterrupt:
                # A job in flight may take minutes and lands whole or not at all, so nothing is gained by waiting.
                for worker in active_children():
                    worker.terminate()
                raise
            finally:
                for pool in pools.values():
                    pool.shutdown(wait=True, cancel_futures=True)
        return state.result

    def _pool(self, house: House) -> ProcessPoolExecutor:
        """Processes of one house; each is spawned when a job comes and none is idle."""
        return ProcessPoolExecutor(
            self.workers,
            mp_context=get_context("spawn"),
            initializer=_start_worker,
            initargs=(str(self._logs), str(self.import_path) if self.import_path else None, house),
        )

    def _loop(
        self,
        pools: dict[House, ProcessPoolExecutor],
        state: _Graph,
        running: dict[Future[Outcome], Job],
        listener: Listener,
    ) -> None:
        while state.pending or running:
            for job in state.take_ready(self.workers - len(running), alone=not running):
                house: House = job.hints.get("house", "torch")
                if house not in pools:
                    pools[house] = self._pool(house)
                running[pools[house].submit(execute, job, self.store.root)] = job
                listener.started(job)
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                outcome = future.result()
                job = running.pop(future)
                listener.finished(job, outcome)
                for blocked in state.finish(job, outcome):
                    listener.skipped(blocked)


class _Graph:
    """Which jobs wait for what. Jobs that the store already has are done from the start."""

    def __init__(self, store: Store, jobs: Mapping[JobRef, Job]) -> None:
        self.result = RunResult()
        self.pending = {ref: job for ref, job in jobs.items() if not store.has(*ref)}
        self._missing = {ref: {n for n in job.needs if n in self.pending} for ref, job in self.pending.items()}
        self._dependents: dict[JobRef, list[JobRef]] = {}
        for ref, needs in self._missing.items():
            for need in needs:
                self._dependents.setdefault(need, []).append(ref)
        self._ready = [ref for ref in self.pending if not self._missing[ref]]
        self._order = {ref: index for index, ref in enumerate(self.pending)}

    def take_ready(self, count: int, *, alone: bool) -> Iterator[Job]:
        """Up to `count` jobs that can run now, in plan order.

        alone: whether nothing runs. Then one exclusive job is given where there is no other that could run; the loop
        waits for it before it asks again, so nothing runs beside it.
        """
        self._ready.sort(key=lambda ref: (self.pending[ref].exclusive, self._order[ref]))
        shared = sum(not self.pending[ref].exclusive for ref in self._ready)
        take = min(count, shared) if shared else min(count, len(self._ready), int(alone))
        for _ in range(take):
            yield self.pending.pop(self._ready.pop(0))

    def finish(self, job: Job, outcome: Outcome) -> list[Job]:
        """Record an outcome; returns the jobs that can now never run."""
        self.result.executed += 1
        self.result.worker_peak_bytes = max(self.result.worker_peak_bytes, outcome.rss)
        if outcome.error is None:
            for dependent in self._dependents.get(job.ref, []):
                self._missing[dependent].discard(job.ref)
                if not self._missing[dependent] and dependent in self.pending:
                    self._ready.append(dependent)
            return []
        self.result.errors[job.ref] = outcome.error
        return self._block(job.ref, job.ref) + self._abandon(job.ref)

    def _block(self, failed: JobRef, cause: JobRef) -> list[Job]:
        """Drop every job that needs the failed one."""
        blocked: list[Job] = []
        for dependent in self._dependents.get(failed, []):
            job = self.pending.pop(dependent, None)
            if job is not None:
                self.result.blocked[dependent] = cause
                blocked += [job, *self._block(dependent, cause)]
        return blocked

    def _abandon(self, cause: JobRef) -> list[Job]:
        """Drop jobs whose every use was dropped: a format that failed on the target needs no shadows."""
        abandoned: list[Job] = []
        for ref in reversed(list(self.pending)):
            dependents = self._dependents.get(ref, [])
            if dependents and all(d in self.result.blocked for d in dependents):
                abandoned.append(self.pending.pop(ref))
                self.result.blocked[ref] = cause
        self._ready = [ref for ref in self._ready if ref in self.pending]
        return abandoned


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the children; thread pools read them once, at import."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start_worker(logs: str, import_path: str | None, house: House) -> None:
    """Set up a worker: converters' chatter goes to a log, and the worker ends when the main process does."""
    log = Path(logs) / f"worker-{os.getpid()}.log"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    enter(house)
    if import_path:
        sys.path.insert(0, import_path)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A pool's workers hold both ends of its queues, so without this they outlive a main process that was killed.
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
