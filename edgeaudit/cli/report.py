"""The verb `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edgeaudit.report.html import write_html
from edgeaudit.report.schema import read_audit
from edgeaudit.report.terminal import render

__all__ = ["report"]


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
) -> None:
    """Write report.html again from audit.json, and print the table."""
    audit = read_audit(run / "audit.json")
    write_html(audit, run / "report.html")
    Console().print(render(audit))
