"""A worker process: runs the jobs that it receives, one at a time, and stores their results."""

from __future__ import annotations

import errno
import faulthandler
import os
import resource
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from edgeaudit.errors import EdgeAuditError, JobCrashed, OutdatedEntry, StoreError, ToolchainError
from edgeaudit.graph.answers import written
from edgeaudit.graph.confinement import remove
from edgeaudit.graph.executor import AnyJob
from edgeaudit.graph.fresh_code import compile_users_modules
from edgeaudit.graph.job import Context, Outcome, Ref, content_key
from edgeaudit.graph.reads import FileRead, Place, import_path, save_reads
from edgeaudit.graph.store import Store
from edgeaudit.graph.watch import reads_of, watching
from edgeaudit.host.isolation import enter

__all__ = ["execute", "serve"]

_FULL = 256 * 1024
"""Free bytes below which a failure is attributed to a full disk."""


def serve(jobs: int, lifeline: int, root: str, isolation: str, own: str) -> None:
    """Receive jobs from a connection and send an `Outcome` for each, until it is closed.

    jobs, lifeline: file descriptors. The main process holds the other end of the lifeline and never writes to it; when
    the main process ends, this process ends too, even during a job. own: its folder of temporary files, which is
    the home of a confined one, too; removed with it.
    """
    faulthandler.enable()  # a crash in native code leaves the Python stack in the log
    threading.Thread(target=_end_with, args=(lifeline, own), daemon=True).start()
    enter(isolation)
    compile_users_modules()
    store = Store(Path(root), Place.now())
    connection = Connection(jobs)
    while True:
        try:
            job: AnyJob = connection.recv()
        except EOFError:
            return
        connection.send_bytes(written(execute(job, store)))
        sys.stdout.flush()


def _end_with(lifeline: int, own: str) -> None:
    os.read(lifeline, 1)
    remove(Path(own))
    os._exit(1)


def execute(job: AnyJob, store: Store) -> Outcome:
    """Run the job unless its entry exists. Errors are returned; unexpected ones with a traceback on disk.

    The store's place is the one for which the main process computed the key.
    """
    started = time.perf_counter()
    error: EdgeAuditError | None = None
    try:
        store.renew()
        if not store.has(*job.ref):
            _execute(job, store, started)
    except Exception as exc:  # noqa: BLE001  the process boundary: only an outcome may cross it
        error = _explained(job, store, exc)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Outcome(job.ref, time.perf_counter() - started, error, peak)


def _execute(job: AnyJob, store: Store, started: float) -> None:
    place = store.place
    with store.writing(*job.ref) as draft:
        before = {need.ref: store.files_read(*need.ref) for need in job.needs}
        with watching(job, store.root, place):
            job.run(Context(store, draft, job.key)).save(draft)
        with import_path(place.path):
            about = job.about()
            reads = reads_of(job)
        if content_key(job.kind, about) != job.key:
            raise StoreError(
                f"{job.label}: its code or the packages that it uses were changed while the audit ran; run again"
            )
        _require_same(before, store)
        save_reads(draft, (*reads, *(one for files in before.values() for one in files)))
        seconds = time.perf_counter() - started
        store.finish(draft, {"kind": job.kind, "key": job.key, "label": job.label, **about, "seconds": seconds})


def _require_same(before: Mapping[Ref, tuple[FileRead, ...]], store: Store) -> None:
    """Raise `OutdatedEntry` where another run has put another entry in the place of one that the job read."""
    for ref, files in before.items():
        other = set(files) ^ set(store.files_read(*ref))
        if other:
            raise OutdatedEntry(*ref, min(other).path, str(store.folder(*ref)))


def _explained(job: AnyJob, store: Store, exc: Exception) -> EdgeAuditError:
    # Converters report a full disk in different ways (safetensors, protobuf, C++ streams), so check the disk itself.
    full = os.strerror(errno.ENOSPC) in str(exc) or shutil.disk_usage(store.root).free < _FULL
    if full and not isinstance(exc, StoreError):
        return StoreError(f"{job.label}: the disk is full. Finished work is kept; free some space and run again")
    if isinstance(exc, MemoryError):
        return JobCrashed(f"'{job.label}' could not get the memory that it asked for (limits.job-memory): {exc}")
    if type(exc) is ToolchainError and exc.__cause__ is not None:
        return ToolchainError(f"{exc}{_traced(job, store, exc)}")
    return exc if isinstance(exc, EdgeAuditError) else _unexpected(job, store, exc)


def _unexpected(job: AnyJob, store: Store, exc: Exception) -> EdgeAuditError:
    return EdgeAuditError(f"{job.label} failed: {type(exc).__name__}: {exc}{_traced(job, store, exc)}")


def _traced(job: AnyJob, store: Store, exc: Exception) -> str:
    """Keep the whole trace among the logs; says where, "" where it cannot be written."""
    try:
        trace = store.logs() / f"{job.kind}-{job.key[:12]}.txt"
        trace.write_text("".join(traceback.format_exception(exc)), encoding="utf-8")
    except (OSError, StoreError):
        return ""
    return f" (traceback: {trace})"
