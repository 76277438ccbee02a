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
    BaselineOption,
    ExecutorOption,
    JsonOption,
    JUnitOption,
    MarkdownOption,
    PolicyOption,
    QuietOption,
    SarifOption,
    SetOption,
    StoreOption,
    WorkersOption,
    WriteOption,
)
from edgeaudit.cli.verdict import print_verdict, read_baseline, require_folders, write_files

__all__ = ["run"]


def run(  # noqa: PLR0913  a parameter is an option
    audit: AuditFile,
    out: Annotated[Path, typer.Option("--out", help="Folder for audit.json, report.html and scores/.")],
    *,
    store: StoreOption = DEFAULT_STORE,
    workers: WorkersOption = None,
    executor: ExecutorOption = DEFAULT_EXECUTOR,
    write: WriteOption = None,
    junit: JUnitOption = None,
    sarif: SarifOption = None,
    baseline: BaselineOption = None,
    markdown: MarkdownOption = None,
    json: JsonOption = None,
    changes: SetOption = None,
    policy: PolicyOption = None,
    quiet: QuietOption = False,
) -> None:
    """Run an audit: train, compress, query, attack, report. What the store already has is not done again.

    Exit codes: 0 within budget, 1 budget exceeded, 2 error, 3 inconclusive or invalid.
    """
    from edgeaudit import api
    from edgeaudit.cli.progress import ProgressView, clock

    require_folders(out, junit=junit, sarif=sarif, markdown=markdown, json=json)
    earlier = read_baseline(baseline, sarif=sarif is not None)
    started = time.monotonic()
    console = Console()
    with ProgressView(Console(quiet=True) if quiet else console, workers) as view:
        result = api.run(
            audit,
            out=out,
            store=store,
            workers=workers,
            executor=executor,
            write=write or (),
            changes=changes or (),
            policy=policy,
            listener=view,
        )
    write_files(result, earlier, junit=junit, sarif=sarif, markdown=markdown, verdict=json)
    print_verdict(console, result, quiet=quiet)
    if quiet:
        raise typer.Exit(result.verdict.exit_code)
    console.print(
        f"{view.executed} of {view.planned} jobs run in {clock(time.monotonic() - started)}. "
        f"Report: {out / 'report.html'}  Figures: {out / 'audit.json'}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    raise typer.Exit(result.verdict.exit_code)
