"""The verb `run`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from edgeaudit.cli.console import Console
from edgeaudit.cli.options import (
    DEFAULT_EXECUTOR,
    DEFAULT_STORE,
    AuditFile,
    ExecutorOption,
    StoreOption,
    WorkersOption,
    WriteOption,
)

__all__ = ["run"]


def run(
    audit: AuditFile,
    out: Annotated[Path, typer.Option("--out", help="Folder for audit.json, report.html and scores/.")],
    store: StoreOption = DEFAULT_STORE,
    workers: WorkersOption = None,
    executor: ExecutorOption = DEFAULT_EXECUTOR,
    write: WriteOption = None,
) -> None:
    """Run an audit: train, compress, query, attack, report. What the store already has is not done again.

    Exit codes: 0 within budget, 1 budget exceeded, 2 error, 3 inconclusive or invalid.
    """
    from edgeaudit import api
    from edgeaudit.cli.progress import ProgressView, clock
    from edgeaudit.report.terminal import render

    started = time.monotonic()
    console = Console()
    with ProgressView(console, workers) as view:
        result = api.run(
            audit, out=out, store=store, workers=workers, executor=executor, write=write or (), listener=view
        )
    console.print(render(result))
    console.print(
        f"{view.executed} of {view.planned} jobs run in {clock(time.monotonic() - started)}. "
        f"Report: {out / 'report.html'}  Figures: {out / 'audit.json'}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    raise typer.Exit(result.verdict.exit_code)
