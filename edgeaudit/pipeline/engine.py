"""What an audit needs to run: its store, an executor, and the folder in which the user's own modules are found."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import invalidate_caches
from pathlib import Path

from edgeaudit.config.limits import LimitsSpec
from edgeaudit.graph.executor import Executor, Limits
from edgeaudit.graph.import_order import with_users_last
from edgeaudit.graph.registry import EXECUTORS
from edgeaudit.graph.store import Store
from edgeaudit.scratch import sweep_scratch

__all__ = ["Engine", "default_workers", "engine"]


@dataclass(frozen=True)
class Engine:
    """A store that is open, and an executor that was entered."""

    store: Store
    executor: Executor


def default_workers() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def engine(
    folder: Path, store: Path, workers: int | None = None, executor: str = "local", limits: LimitsSpec | None = None
) -> Iterator[Engine]:
    """A store and an executor whose workers end with the block, also where it is left by Ctrl-C.

    Args:
        folder: of audit.yaml; `module:function` references are looked up in it, after what is installed.
        store: made where it is missing.
        workers: jobs at a time; None for one a core.
        executor: its name.
        limits: of each job; None for none.

    Raises:
        StoreError: the store cannot be opened. SpecError: there is no such executor.
    """
    opened = Store(store.resolve())
    opened.sweep()
    sweep_scratch()
    kind = EXECUTORS.find(executor)
    with _importable(folder), kind(opened, workers or default_workers(), folder, _limits(limits)) as entered:
        yield Engine(opened, entered)


def _limits(limits: LimitsSpec | None) -> Limits:
    if limits is None:
        return Limits()
    return Limits(None if limits.job_minutes is None else 60 * limits.job_minutes, limits.job_memory)


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let planning find the source of the modules in a folder, which decides the keys of jobs that run them."""
    invalidate_caches()  # a notebook writes a module and names it a moment later
    before = list(sys.path)
    sys.path[:] = with_users_last(before, folder)
    try:
        yield
    finally:
        sys.path[:] = before
