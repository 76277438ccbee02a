"""The verb `check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeaudit.cli.console import Console
from edgeaudit.cli.options import (
    BaselineOption,
    JsonOption,
    JUnitOption,
    MarkdownOption,
    PolicyOption,
    QuietOption,
    RunFolder,
    SarifOption,
)
from edgeaudit.cli.verdict import print_verdict, read_baseline, require_folders, write_files

__all__ = ["check"]


def check(  # noqa: PLR0913  a parameter is an option
    run: RunFolder,
    budgets: Annotated[
        Path | None, typer.Option("--budgets", help="An audit.yaml whose budgets to judge instead of the run's own.")
    ] = None,
    policy: PolicyOption = None,
    junit: JUnitOption = None,
    sarif: SarifOption = None,
    baseline: BaselineOption = None,
    markdown: MarkdownOption = None,
    json: JsonOption = None,
    *,
    quiet: QuietOption = False,
) -> None:
    """Judge budgets on a finished run; nothing is trained, exported or queried.

    Exit codes: 0 within budget, 1 budget exceeded, 2 error, 3 inconclusive or invalid.
    """
    from edgeaudit import api

    require_folders(junit=junit, sarif=sarif, markdown=markdown, json=json)
    earlier = read_baseline(baseline, sarif=sarif is not None)
    judged = api.load(run).model_copy(update={"verdict": api.check(run, budgets, policy=policy)})
    write_files(judged, earlier, junit=junit, sarif=sarif, markdown=markdown, verdict=json)
    print_verdict(Console(), judged, quiet=quiet)
    raise typer.Exit(judged.verdict.exit_code)
