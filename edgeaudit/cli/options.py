"""Options that several verbs share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeaudit.cli import completion
from edgeaudit.graph.registry import EXECUTORS

if TYPE_CHECKING:
    from edgeaudit.config.limits import LimitsSpec
    from edgeaudit.graph.executor import Executor
    from edgeaudit.graph.store import Store

__all__ = [
    "DEFAULT_EXECUTOR", "DEFAULT_STORE", "AuditFile", "ExecutorOption", "RunFolder", "StoreOption", "WorkersOption",
    "WriteOption", "default_workers", "executor_for",
]  # fmt: skip

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")]
AuditFile = Annotated[Path, typer.Argument(metavar="AUDIT.YAML", help="The audit to run.")]
StoreOption = Annotated[
    Path,
    typer.Option(
        "--store",
        envvar="EDGEAUDIT_STORE",
        help="Where finished work is kept; audits that share it share models, artifacts and answers.",
    ),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Worker processes of one thread each; default: one a core.")
]
ExecutorOption = Annotated[
    str, typer.Option("--executor", help="What runs the jobs.", autocompletion=completion.executors)
]
WriteOption = Annotated[
    list[str] | None,
    typer.Option(
        "--write",
        metavar="WRITER",
        help="A report to write beside those of audit.yaml: html, text or another package's; again for more of them.",
        autocompletion=completion.writers,
    ),
]
DEFAULT_EXECUTOR = "local"
DEFAULT_STORE = Path(".edgeaudit")


def default_workers() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def executor_for(
    audit: Path, store: Path, workers: int | None, executor: str = DEFAULT_EXECUTOR, limits: LimitsSpec | None = None
) -> tuple[Store, Executor]:
    """The store and the executor of a verb; `module:function` references are looked up beside audit.yaml."""
    from edgeaudit.graph.executor import Limits
    from edgeaudit.graph.store import Store

    folder = audit.resolve().parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))  # planning reads the source of the user's own modules
    opened = Store(store.resolve())
    opened.sweep()
    most = Limits()
    if limits is not None:
        most = Limits(None if limits.job_minutes is None else 60 * limits.job_minutes, limits.job_memory)
    return opened, EXECUTORS.find(executor)(opened, workers or default_workers(), folder, most)
