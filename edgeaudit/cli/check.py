"""The verb `check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeaudit.cli.console import Console
from edgeaudit.cli.options import RunFolder

__all__ = ["check"]


def check(
    run: RunFolder,
    budgets: Annotated[
        Path | None, typer.Option("--budgets", help="An audit.yaml whose budgets to judge instead of the run's own.")
    ] = None,
) -> None:
    """Judge budgets on a finished run; nothing is trained, exported or queried.

    Exit codes: 0 within budget, 1 budget exceeded, 2 error, 3 inconclusive or invalid.
    """
    from edgeaudit import api
    from edgeaudit.report.terminal import render

    verdict = api.check(run, budgets)
    Console().print(render(api.load(run).model_copy(update={"verdict": verdict})))
    raise typer.Exit(verdict.exit_code)
