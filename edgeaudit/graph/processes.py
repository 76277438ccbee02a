"""Local worker processes: one thread each, toolchains imported once, stopped with the main process.

A worker that dies costs only the job that it was running. Workers are started as `python -c`, with the main
process's import path: a script or notebook that runs an audit is not imported a second time, as
multiprocessing's spawn would do, and needs no `if __name__ == "__main__":`.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import psutil

from edgeaudit.errors import JobCrashed, StoreError, reason_of, store_errors
from edgeaudit.graph.answers import LARGEST, outcome_of
from edgeaudit.graph.confinement import (
    Bounds,
    bounds_of,
    bytes_below,
    environment_of,
    network_problem,
    remove,
    write_problem,
)
from edgeaudit.graph.executor import AnyJob, Executor, ExecutorSpec, Limits, Listener, RunResult
from edgeaudit.graph.import_order import with_users_last
from edgeaudit.graph.job import Outcome, Ref
from edgeaudit.graph.scheduler import Scheduler
from edgeaudit.graph.store import Store
from edgeaudit.scratch import make_scratch

__all__ = ["LocalProcesses"]

_ENVIRONMENT = {
    # Two torch threads under load can be 30x slower than one (spin-wait), so all parallelism is in processes.
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "TFLITE_NUM_THREADS"), "1"
    ),
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "LITERT_TORCH_SHOW_PROGRESS": "n",
    "TQDM_DISABLE": "1",
    "ORT_DISABLE_TELEMETRY": "1",  # as in `edgeaudit.host.quiet`; the others are read at each call
    "CUDA_VISIBLE_DEVICES": "",  # a model trained on a GPU depends on more than (records, seed, recipe)
}
_START = "import sys; sys.path[:] = {path!r}; {first}from edgeaudit.graph.worker import serve; serve({arguments})"
_CONFINE = "from edgeaudit.graph.confinement import confine; confine({written!r}, network={network}); "
_ANSWER_SECONDS = 30
"""For the rest of an answer to arrive after its beginning."""
_POLL = 0.5
"""Seconds between two checks of job limits."""
_MINUTE = 60.0
_LINES = 6
"""Lines of a dead worker's log in the error."""
_CRASH_RETRIES = 1
_KILL_RETRIES = 10
"""For a job whose process was killed from outside, which says nothing about the job."""
_OOM_COUNTERS = ("/proc/vmstat", "/sys/fs/cgroup/memory.events")
"""Files with a line `oom_kill <count>`: of the machine, and of the container."""
_GRANTED = "as much as a file of its size is granted; limits.job-memory grants another amount"
_GRACE = 5.0
"""Seconds that a worker has to exit by itself."""


@dataclass(frozen=True)
class _Task:
    job: AnyJob
    started: float
    log_size: int
    oom_kills: int
    bounds: Bounds | None


def _scratch() -> Path:
    try:
        return make_scratch()
    except OSError as exc:
        raise StoreError(
            f"temporary files (TMPDIR): {reason_of(exc)}. Free some space, or name another folder"
        ) from exc


class _Worker:
    """A worker process and its current job."""

    def __init__(self, store: Store, group: tuple[str, bool], import_path: Path | None) -> None:
        self.group = group
        self._store = store
        self.task: _Task | None = None
        ours, theirs = Pipe()
        life, self._lifeline = os.pipe()
        log = store.logs() / f"worker-{os.getpid()}-{time.monotonic_ns()}.log"
        self._log = log
        path = with_users_last(sys.path, import_path)
        isolation, confined = group
        self._home = store.private_home() if confined else None
        first = ""
        if self._home is not None:
            self._own = self._home
            written = None if write_problem() is not None else (str(store.root), str(self._home))
            first = _CONFINE.format(written=written, network=network_problem() is not None)
            environment = environment_of(os.environ, self._home)
        else:
            # Converters, too, leave temporary files behind where their process is killed.
            self._own = _scratch()
            environment = {**os.environ, "TMPDIR": str(self._own)}
        arguments = f"{theirs.fileno()}, {life}, {str(store.root)!r}, {isolation!r}, {str(self._own)!r}"
        with store_errors(f"the store {store.root}"):
            file = log.open("wb")
        with file:
            self.process = subprocess.Popen(  # noqa: S603  our own interpreter and our own text
                [sys.executable, "-c", _START.format(path=path, first=first, arguments=arguments)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**environment, **_ENVIRONMENT},
                pass_fds=(theirs.fileno(), life),
                process_group=0,  # Ctrl-C reaches the main process, which stops its workers
            )
        theirs.close()
        os.close(life)
        _bound_reads(ours)
        self.connection: Connection = ours

    def give(self, job: AnyJob, limits: Limits) -> None:
        """Send a job. The death of an idle worker is noticed when its answer is read."""
        bounds = None
        if self._home is not None:
            opened = (*job.opens(), *(self._store.folder(*need.ref) for need in job.needs))
            bounds = bounds_of(bytes_below(opened), limits.memory, _most_seconds(job, limits), job.memory())
            if limits.memory is None:
                # What a worker keeps of earlier jobs is none of this one's.
                bounds = replace(bounds, memory=bounds.memory + _resident(self.process.pid))
            bounds.set(self.process.pid)
        self.task = _Task(job, time.monotonic(), self._log_size(), _oom_kills(), bounds)
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(job)

    def outcome(self) -> Outcome:
        """The outcome of the job; a `JobCrashed` if the process exited without an answer."""
        task = self._taken()
        try:
            if self.connection.poll():
                # The job's own name, whatever a worker that was taken over says.
                return replace(outcome_of(self.connection.recv_bytes(LARGEST)), ref=task.job.ref)
        except (EOFError, ConnectionResetError):
            pass
        except (ValueError, OSError):  # too long, or not sent to its end in time
            self.task = task
            return self.stop("gave an answer that cannot be read")
        return self._ended(task)

    def _taken(self) -> _Task:
        if self.task is None:
            raise RuntimeError("a worker without a job answered")
        task, self.task = self.task, None
        return task

    def _ended(self, task: _Task) -> Outcome:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_GRACE)
        self.end()
        code = self.process.returncode
        message = f"the worker process of '{task.job.label}' exited with {_described(code)}"
        retries = _CRASH_RETRIES
        if code == -signal.SIGXCPU and task.bounds is not None:
            message += f": it took more than {task.bounds.seconds:g} seconds of the processor (limits.job-minutes)"
            retries = 0
        if code in {-signal.SIGKILL, -signal.SIGTERM}:
            if _oom_kills() > task.oom_kills:
                message += ", out of memory: try --workers 1, or a machine with more memory"
            else:
                message += " from another process"
                retries = _KILL_RETRIES
        message = f"{message}. {self._last_lines(task)}The full log is {self._log}"
        return Outcome(task.job.ref, time.monotonic() - task.started, JobCrashed(message, retries))

    def over(self, limits: Limits) -> str | None:
        """Which limit the job exceeds, as part of a sentence; None for none."""
        if self.task is None:
            return None
        seconds = time.monotonic() - self.task.started
        most = _most_seconds(self.task.job, limits)
        if most is not None and seconds > most:
            minutes = "minute" if most == _MINUTE else "minutes"
            return f"took longer than {most / _MINUTE:g} {minutes} (limits.job-minutes)"
        memory = limits.memory if self.task.bounds is None else self.task.bounds.memory
        if memory is None or _resident(self.process.pid) <= memory:
            return None
        whose = "limits.job-memory" if memory == limits.memory else _GRANTED
        return f"took more than {memory / 2**20:,.0f} MiB of memory ({whose})"

    def stop(self, reason: str) -> Outcome:
        """Stop the process while its job is running."""
        task = self._taken()
        self.end()
        message = f"'{task.job.label}' {reason} and was stopped. {self._last_lines(task)}The full log is {self._log}"
        return Outcome(task.job.ref, time.monotonic() - task.started, JobCrashed(message))

    def end(self) -> None:
        """Stop the process, and what its jobs started and left behind in its process group."""
        self.connection.close()
        with suppress(OSError):
            os.close(self._lifeline)
        if self.process.poll() is None and self.task is None:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_GRACE)
        for signal_ in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                self.process.send_signal(signal_)
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(_GRACE)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        remove(self._own)
        if self._log_size() == 0:
            self._log.unlink(missing_ok=True)

    def _log_size(self) -> int:
        try:
            return self._log.stat().st_size
        except OSError:
            return 0

    def _last_lines(self, task: _Task) -> str:
        """The last lines that the job printed, as a sentence."""
        try:
            with self._log.open("rb") as file:
                file.seek(task.log_size)
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        lines = _relevant([line.strip() for line in text.splitlines() if line.strip()])
        return f"Last output: {' | '.join(lines)}. " if lines else ""


class LocalProcesses(Executor):
    """Runs `workers` jobs at a time in processes of this machine.

    A job runs in a process of its isolation group (`Job.isolation`, see edgeaudit/host/isolation.py), one that opens
    files of others in a confined process of that group (edgeaudit/graph/confinement.py). Processes of a group are
    started with its first job and then wait for more, so that with two groups there may be twice as many processes as
    `workers`; at most `workers` of them run a job.
    """

    spec: ClassVar[ExecutorSpec] = ExecutorSpec("local", "processes on this machine, one thread each")

    def __init__(
        self, store: Store, workers: int, import_path: Path | None = None, limits: Limits | None = None
    ) -> None:
        super().__init__(store, workers, import_path, limits)
        self._workers: list[_Worker] = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the workers without waiting for running jobs: entries are written atomically."""
        for worker in self._workers:
            if worker.task is not None:
                worker.process.terminate()
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def run(self, jobs: Mapping[Ref, AnyJob], listener: Listener) -> RunResult:
        """See `Executor.run`."""
        state = Scheduler(self.store, jobs)
        try:
            while state.unfinished or self._busy():
                self._start(state, listener)
                for task, outcome in self._ended():
                    self._finish(task, outcome, state, listener)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return state.result

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.task is not None]

    def _start(self, state: Scheduler, listener: Listener) -> None:
        busy = len(self._busy())
        for job in state.take_ready(self.workers - busy, idle=not busy):
            self._worker((job.isolation, job.confined)).give(job, self.limits)
            listener.started(job)

    def _worker(self, group: tuple[str, bool]) -> _Worker:
        for worker in self._workers:
            if worker.task is None and worker.group == group and worker.process.poll() is None:
                return worker
        self._workers.append(_Worker(self.store, group, self.import_path))
        return self._workers[-1]

    def _ended(self) -> list[tuple[_Task, Outcome]]:
        """Wait until jobs end, by themselves or at a limit."""
        busy = {worker.connection: worker for worker in self._busy()}
        ready = [busy[connection] for connection in wait(list(busy), timeout=_POLL)]  # type: ignore[index]
        # What a job forked may hold the connection open beyond the worker's end.
        ready += [worker for worker in busy.values() if worker not in ready and worker.process.poll() is not None]
        ended: list[tuple[_Task, Outcome]] = []
        for worker in ready:
            task = worker.task
            outcome = worker.outcome()
            if task is not None:
                ended.append((task, outcome))
        ended += [
            (task, worker.stop(reason))
            for worker in self._busy()
            if (task := worker.task) is not None and (reason := worker.over(self.limits)) is not None
        ]
        self._workers = [worker for worker in self._workers if worker.process.poll() is None]
        return ended

    @staticmethod
    def _finish(task: _Task, outcome: Outcome, state: Scheduler, listener: Listener) -> None:
        again = state.repeat(task.job, outcome)
        if again is not None and outcome.error is not None:
            listener.repeated(again, outcome.error)
            return
        outcome = state.explained(task.job, outcome)
        listener.finished(task.job, outcome)
        for blocked in state.finish(task.job, outcome):
            listener.skipped(blocked)


def _bound_reads(connection: Connection) -> None:
    """Let a read of an answer that does not go on end in `BlockingIOError`."""
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _ANSWER_SECONDS, 0))


def _most_seconds(job: AnyJob, limits: Limits) -> float | None:
    return job.most_seconds if limits.seconds is None else limits.seconds


def _relevant(lines: list[str]) -> list[str]:
    """The last lines; for a crash in native code, the lines before it and its Python frames."""
    fatal = next((index for index, line in enumerate(lines) if line.startswith("Fatal Python error")), None)
    if fatal is None:
        return lines[-_LINES:]
    current = next((at for at, line in enumerate(lines) if line.startswith("Current thread")), fatal)
    frames = [line for line in lines[current:] if line.startswith("File ")]
    return [*lines[max(0, fatal - _LINES // 2) : fatal + 1], *frames[: _LINES // 2]]


def _described(code: int | None) -> str:
    """`signal 11 (SIGSEGV)` or `exit code 3`."""
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"


def _oom_kills() -> int:
    """Number of processes killed by the out-of-memory killer since this machine or container started."""
    total = 0
    for path in _OOM_COUNTERS:
        with suppress(OSError):
            for line in Path(path).read_text(encoding="ascii").splitlines():
                name, _, count = line.partition(" ")
                total += int(count) if name == "oom_kill" else 0
    return total


def _resident(pid: int) -> int:
    """Resident bytes of a process and its children."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += member.memory_info().rss
    return total
