"""The verb `compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeaudit.cli import completion
from edgeaudit.cli.console import Console
from edgeaudit.cli.options import QuietOption

__all__ = ["compare"]

OldRun = Annotated[Path, typer.Argument(metavar="OLD", help="The folder of the earlier run.")]
NewRun = Annotated[Path, typer.Argument(metavar="NEW", help="The folder of the later run.")]


def compare(
    old: OldRun,
    new: NewRun,
    named: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="OLD=NEW",
            help="A format of OLD and the one of NEW to compare it with, where ids differ; again for more of them.",
            autocompletion=completion.formats_of_old,
        ),
    ] = None,
    margin: Annotated[
        float, typer.Option("--margin", help="Differences whose 95% interval lies within +- this are called equal.")
    ] = 0.02,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the comparison as JSON to this file.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the comparison as Markdown to this file.")
    ] = None,
    *,
    quiet: QuietOption = False,
) -> None:
    """Compare the leakage of two finished runs: releases, toolchains, quantisers. Nothing is trained or queried.

    Exit codes: 0 no significant increase, 1 a significant increase, 2 error, 3 nothing can be compared or concluded.
    """
    from edgeaudit import api
    from edgeaudit.cli.verdict import require_folders
    from edgeaudit.report.between_runs import (
        comparison_line,
        render_comparison,
        write_comparison_json,
        write_comparison_markdown,
    )

    require_folders(json=json, markdown=markdown)
    found = api.compare(old, new, formats=_formats(named or []), margin=margin)
    if json is not None:
        write_comparison_json(found, json)
    if markdown is not None:
        write_comparison_markdown(found, markdown)
    console = Console()
    if quiet:
        console.print(comparison_line(found), soft_wrap=True, highlight=False)
    else:
        console.print(render_comparison(found))
    raise typer.Exit(found.exit_code)


def _formats(named: list[str]) -> dict[str, str]:
    from edgeaudit.errors import SpecError

    formats: dict[str, str] = {}
    for text in named:
        old, equals, new = (part.strip() for part in text.partition("="))
        if not (old and equals and new):
            raise SpecError(
                f"--map {text}: must be the id of a format of OLD, =, and one of NEW, as onnx-int8=onnx-int8-qop"
            )
        if old in formats:
            raise SpecError(f"--map {text}: '{old}' is mapped already, to '{formats[old]}'")
        formats[old] = new
    return formats
