"""The verb `report`."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeaudit.cli import completion
from edgeaudit.cli.console import Console
from edgeaudit.cli.options import BaselineOption, RunFolder

__all__ = ["report"]


def report(
    run: RunFolder,
    writers: Annotated[
        list[str] | None,
        typer.Option(
            "--write",
            "--format",
            metavar="WRITER",
            help="A report to write: html, text, json, csv, junit, markdown, sarif, verdict, cyclonedx, model-card, "
            "mlflow, or another package's; again for more of them. Default: html.",
            autocompletion=completion.writers,
        ),
    ] = None,
    baseline: BaselineOption = None,
) -> None:
    """Write report.html, or other reports, again from audit.json, and print the table."""
    from edgeaudit.cli.verdict import read_baseline
    from edgeaudit.report.schema import read_audit
    from edgeaudit.report.terminal import render
    from edgeaudit.report.writers import write_reports

    names = writers or ["html"]
    earlier = read_baseline(baseline, sarif="sarif" in names)
    audit = read_audit(run / "audit.json")
    written = write_reports(audit, run, names, earlier)
    console = Console()
    console.print(render(audit))
    paths = [str(path) for path in written if path.name != "audit.json"]
    console.print(f"Written: {', '.join(paths) or run / 'audit.json'}", soft_wrap=True, highlight=False)
