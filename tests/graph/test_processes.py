"""The executor: order, failures as values, dead workers named, nothing done twice. Jobs are real population jobs."""

from __future__ import annotations

import os
import signal
from multiprocessing import active_children
from pathlib import Path

import pytest

from edgeaudit.errors import DataError, WorkerDied
from edgeaudit.graph.job import Job, Outcome
from edgeaudit.graph.processes import LocalProcesses, _Graph
from edgeaudit.graph.store import Store


class _Log:
    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.left_out: list[str] = []
        self.beside: dict[str, list[str]] = {}

    def started(self, job: Job) -> None:
        running = [label for label in self.begun if label not in self.ended]
        self.beside[job.label] = running
        for label in running:
            self.beside[label].append(job.label)
        self.begun.append(job.label)

    def finished(self, job: Job, outcome: Outcome) -> None:
        self.ended.append(job.label)

    def skipped(self, job: Job) -> None:
        self.left_out.append(job.label)


def _population(
    label: str, needs: tuple[tuple[str, str], ...] = (), hints: dict[str, bool] | None = None, **data: object
) -> Job:
    settings = {"source": "digits", "members": 50, "nonmembers": 50, **data}
    return Job("population", {"data": settings, "seed": 0, "depends": {"test": label}}, needs, label, hints or {})


ALONE = {"exclusive": True}


def _graph(*jobs: Job) -> dict[tuple[str, str], Job]:
    return {job.ref: job for job in jobs}


def test_done_jobs_are_not_done_again(tmp_path: Path) -> None:
    store, log = Store(tmp_path), _Log()
    executor = LocalProcesses(store, 2)
    jobs = _graph(_population("one"), _population("two"))
    assert executor.run(jobs, log).executed == 2
    assert executor.run(jobs, log).executed == 0
    assert sorted(log.ended) == ["one", "two"]
    assert all(store.has(*ref) for ref in jobs)


def test_a_failed_job_blocks_what_needs_it_and_nothing_else(tmp_path: Path) -> None:
    log = _Log()
    bad = _population("bad", source="npz", path=str(tmp_path / "none.npz"))
    after = _population("after", (bad.ref,))
    beside = _population("beside")
    result = LocalProcesses(Store(tmp_path), 2).run(_graph(bad, after, beside), log)
    assert isinstance(result.errors[bad.ref], DataError)
    assert "none.npz does not exist" in str(result.cause(after.ref))
    assert result.cause(beside.ref) is None
    assert log.left_out == ["after"]


def test_jobs_that_only_a_failed_one_would_use_are_abandoned(tmp_path: Path) -> None:
    bad, feeder = _population("bad"), _population("feeder")
    both = _population("both", (bad.ref, feeder.ref))
    graph = _Graph(Store(tmp_path), _graph(bad, feeder, both))
    taken = list(graph.take_ready(1, alone=True))
    assert [job.label for job in taken] == ["bad"]
    dropped = graph.finish(bad, Outcome(bad.ref, 0.1, DataError("no")))
    assert [job.label for job in dropped] == ["both", "feeder"]
    assert not list(graph.take_ready(5, alone=True))


def test_an_exclusive_job_runs_alone_and_after_all_that_can(tmp_path: Path) -> None:
    log = _Log()
    first, second = _population("time one", hints=ALONE), _population("time two", hints=ALONE)
    others = [_population(f"job {n}") for n in range(5)]
    last = _population("last", (others[-1].ref,))
    result = LocalProcesses(Store(tmp_path), 3).run(_graph(first, second, *others, last), log)
    assert result.executed == 8
    assert log.begun[-2:] == ["time one", "time two"]
    assert log.beside["time one"] == log.beside["time two"] == []
    assert any(log.beside[job.label] for job in others)  # or the test could not tell


def test_what_needs_an_exclusive_job_runs_after_it_and_others_do_not_wait(tmp_path: Path) -> None:
    alone = _population("alone", hints=ALONE)
    after, beside = _population("after", (alone.ref,)), _population("beside")
    graph = _Graph(Store(tmp_path), _graph(alone, after, beside))
    assert [job.label for job in graph.take_ready(4, alone=True)] == ["beside"]
    assert list(graph.take_ready(3, alone=False)) == []  # "beside" still runs
    graph.finish(beside, Outcome(beside.ref, 0.1))
    assert [job.label for job in graph.take_ready(4, alone=True)] == ["alone"]
    graph.finish(alone, Outcome(alone.ref, 0.1))
    assert [job.label for job in graph.take_ready(4, alone=True)] == ["after"]


class _Killer(_Log):
    """Halts the workers once three jobs are done and kills them when the next job is theirs: none can end before."""

    def __init__(self) -> None:
        super().__init__()
        self.killed = False

    def started(self, job: Job) -> None:
        super().started(job)
        if len(self.ended) >= 3:
            self.killed = True
            for worker in active_children():
                worker.kill()

    def finished(self, job: Job, outcome: Outcome) -> None:
        super().finished(job, outcome)
        if len(self.ended) == 3:
            for worker in active_children():
                assert worker.pid is not None
                os.kill(worker.pid, signal.SIGSTOP)
                os.waitid(os.P_PID, worker.pid, os.WSTOPPED)


def test_a_killed_worker_is_one_clear_error_and_finished_work_is_kept(tmp_path: Path) -> None:
    store, killer = Store(tmp_path), _Killer()
    jobs = _graph(*(_population(f"job {i}") for i in range(12)))
    with pytest.raises(WorkerDied, match=r"died during: job \d+.*Finished work is kept"):
        LocalProcesses(store, 2).run(jobs, killer)
    assert killer.killed
    done = [ref for ref in jobs if store.has(*ref)]
    assert 3 <= len(done) < len(jobs)
    result = LocalProcesses(store, 2).run(jobs, _Log())
    assert result.executed == len(jobs) - len(done)


def test_the_trace_of_an_unexpected_error_is_kept_and_the_message_is_one_line(tmp_path: Path) -> None:
    # A spec that the job cannot read at all is a bug of the planner, not a user's mistake.
    job = Job("population", {"data": {"members": "x", "nonmembers": 3}, "seed": 0}, (), "odd")
    result = LocalProcesses(Store(tmp_path), 1).run(_graph(job), _Log())
    message = str(result.errors[job.ref])
    assert "odd failed: ValidationError" in message
    assert list((tmp_path / "logs").glob("population-*.txt"))
