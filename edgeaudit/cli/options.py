"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeaudit.cli import completion

__all__ = [
    "DEFAULT_EXECUTOR", "DEFAULT_STORE", "AuditFile", "ExecutorOption", "RunFolder", "RunStoreOption", "StoreOption",
    "WorkersOption", "WriteOption",
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
RunStoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        envvar="EDGEAUDIT_STORE",
        help="Where finished work is kept; default: where the run kept it.",
        show_default=False,
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
