"""The verb `artifacts`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeaudit.cli import completion
from edgeaudit.cli.console import Console
from edgeaudit.cli.options import RunFolder, RunStoreOption

__all__ = ["artifacts"]


def artifacts(
    run: RunFolder,
    formats: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FORMAT]...", help="Formats of the run; by default all of them.", autocompletion=completion.formats
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The folder to copy into; default: artifacts in the run's folder.")
    ] = None,
    store: RunStoreOption = None,
) -> None:
    """Copy the files that were audited, with the weights beside them, out of the store: FORMAT/FILE.

    These are the very bytes of the report: their SHA-256 is compared with audit.json. Data and modules are not needed.
    """
    from edgeaudit import api
    from edgeaudit.report.words import file_size

    console = Console(highlight=False, soft_wrap=True)
    for file in api.artifacts(run, formats or (), out, store=store):
        beside = f", with {', '.join(file.companions)}" if file.companions else ""
        console.print(f"{file.path}  {file_size(file.bytes)}  SHA-256 {file.sha256[:12]}{beside}")
