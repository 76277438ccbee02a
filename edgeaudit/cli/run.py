"""The verb `run`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edgeaudit.cli.options import (
    DEFAULT_EXECUTOR,
    DEFAULT_STORE,
    AuditFile,
    ExecutorOption,
    StoreOption,
    WorkersOption,
    WriteOption,
    executor_for,
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
    from edgeaudit.cli.progress import ProgressView, clock
    from edgeaudit.config.audit import load_spec
    from edgeaudit.pipeline.assemble import require_folder
    from edgeaudit.pipeline.audit import prepare, run_audit
    from edgeaudit.report.terminal import render

    started = time.monotonic()
    console = Console()
    spec = load_spec(audit).with_writers(write or ())
    opened, chosen = executor_for(audit, store, workers, executor, spec.limits)
    with chosen, ProgressView(console, chosen.workers) as view:
        prepared = prepare(spec, opened, chosen, view)
        todo = prepared.todo(opened)
        require_folder(out)
        view.begin(prepared.plan.jobs, set(prepared.plan.jobs) - {job.ref for job in todo})
        result, executed = run_audit(prepared, opened, chosen, view, out)
    console.print(render(result))
    console.print(
        f"{executed} of {len(prepared.plan.jobs)} jobs run in {clock(time.monotonic() - started)}. "
        f"Report: {out / 'report.html'}  Figures: {out / 'audit.json'}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    raise typer.Exit(result.verdict.exit_code)
