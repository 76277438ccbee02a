"""Options that several verbs share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgeaudit.graph.processes import LocalProcesses
from edgeaudit.graph.store import Store

__all__ = ["AuditFile", "StoreOption", "WorkersOption", "default_workers", "executor_for"]

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
DEFAULT_STORE = Path(".edgeaudit")


def default_workers() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def executor_for(audit: Path, store: Path, workers: int | None) -> tuple[Store, LocalProcesses]:
    """The store and the executor of a verb; `module:function` references are looked up beside audit.yaml."""
    folder = audit.resolve().parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))  # planning reads the source of the user's own modules
    opened = Store(store.resolve())
    opened.sweep()
    return opened, LocalProcesses(opened, workers or default_workers(), folder)
