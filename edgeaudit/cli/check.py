"""The verb `check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

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
    from edgeaudit.config.audit import load_spec, recorded_spec
    from edgeaudit.gate.judge import judge, require_budgets_exist
    from edgeaudit.pipeline.assemble import load_scores
    from edgeaudit.report.schema import read_audit
    from edgeaudit.report.terminal import render

    path = run / "audit.json"
    audit = read_audit(path)
    spec = recorded_spec(audit.spec, path)
    if budgets is not None:
        spec = spec.model_copy(update={"budgets": load_spec(budgets).budgets})
    require_budgets_exist(spec)
    verdict = judge(spec, audit.formats, audit.leakage, audit.controls, lambda *place: load_scores(run, *place))
    Console().print(render(audit.model_copy(update={"verdict": verdict})))
    raise typer.Exit(verdict.exit_code)
