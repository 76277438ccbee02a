"""Run one job in this process: find its function, give it a draft folder, land the result."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import time
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from edgeaudit.errors import EdgeAuditError, StoreError
from edgeaudit.graph.job import Job, JobContext, JobKind, Outcome
from edgeaudit.graph.store import Store

__all__ = ["execute"]

_FULL = 256 * 1024
"""Free bytes below which a failure is put down to the disk."""

Work = Callable[[JobContext], Mapping[str, Any]]


_WORK: Mapping[JobKind, tuple[str, str]] = {
    "population": ("edgeaudit.stages.population", "draw"),
    "control": ("edgeaudit.stages.control", "control"),
    "probe": ("edgeaudit.stages.probe", "probe"),
    "train": ("edgeaudit.stages.train", "train_model"),
    "compress": ("edgeaudit.stages.compress", "compress"),
    "adopt": ("edgeaudit.stages.adopt", "adopt"),
    "query": ("edgeaudit.stages.query", "query"),
    "equivalence": ("edgeaudit.stages.equivalence", "compare_places"),
    "view": ("edgeaudit.stages.view", "view"),
    "boundary": ("edgeaudit.stages.boundary", "boundary"),
    "trajectory": ("edgeaudit.stages.trajectory", "trajectory"),
    "measure": ("edgeaudit.stages.measure", "measure"),
    "exposure": ("edgeaudit.stages.weaken", "expose"),
    "compare": ("edgeaudit.stages.compare", "compare_measurements"),
    "together": ("edgeaudit.stages.collude", "hold_together"),
    "inspect": ("edgeaudit.stages.inspect", "inspect_artifact"),
    "latency": ("edgeaudit.stages.latency", "latency"),
}
"""Kind -> module, function in it."""


def _work(kind: JobKind) -> Work:
    # Imported here: the main process plans and reports, and never needs torch or a toolchain.
    module, function = _WORK[kind]
    work: Work = getattr(import_module(module), function)
    return work


def execute(job: Job, root: Path) -> Outcome:
    """Do the job unless its entry exists. Errors come back as values; an unexpected one leaves its trace on disk."""
    started = time.perf_counter()
    store = Store(root)
    error: EdgeAuditError | None = None
    try:
        if not store.has(job.kind, job.key):
            _execute(job, store, started)
    except Exception as exc:  # noqa: BLE001  a job is a process's edge: nothing may cross it but an outcome
        error = _explained(job, root, exc)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Outcome(job.ref, time.perf_counter() - started, error, peak)


def _execute(job: Job, store: Store, started: float) -> None:
    with store.writing(job.kind, job.key) as draft:
        facts = _work(job.kind)(JobContext(job.inputs, store, draft, job.key, job.hints))
        about = {
            "kind": job.kind,
            "key": job.key,
            "label": job.label,
            "inputs": job.inputs,
            "facts": facts,
            "seconds": time.perf_counter() - started,
        }
        store.finish(draft, about)


def _explained(job: Job, root: Path, exc: Exception) -> EdgeAuditError:
    # Converters report a full disk in words of their own (safetensors, protobuf, C++ streams), so the disk is asked.
    full = os.strerror(errno.ENOSPC) in str(exc) or shutil.disk_usage(root).free < _FULL
    if full and not isinstance(exc, StoreError):
        return StoreError(f"{job.label}: the disk is full; finished work is kept, free some space and run again")
    lost = Path(exc.filename) if isinstance(exc, FileNotFoundError) and isinstance(exc.filename, str) else None
    if lost is not None and root in lost.parents and lost.relative_to(root).parts[0] != ".tmp":
        entry = root.joinpath(*lost.relative_to(root).parts[:2])
        return StoreError(f"{job.label}: {lost.name} is gone from {entry}; remove that folder and run again")
    return exc if isinstance(exc, EdgeAuditError) else _unexpected(job, root, exc)


def _unexpected(job: Job, root: Path, exc: Exception) -> EdgeAuditError:
    trace = root / "logs" / f"{job.kind}-{job.key[:12]}.txt"
    try:
        trace.parent.mkdir(parents=True, exist_ok=True)
        trace.write_text("".join(traceback.format_exception(exc)), encoding="utf-8")
    except OSError:
        return EdgeAuditError(f"{job.label} failed: {type(exc).__name__}: {exc}")
    return EdgeAuditError(f"{job.label} failed: {type(exc).__name__}: {exc} (the trace is in {trace})")
