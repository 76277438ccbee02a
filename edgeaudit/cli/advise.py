"""The verb `advise`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from edgeaudit.cli import completion
from edgeaudit.cli.console import Console, print_json
from edgeaudit.cli.options import (
    DEFAULT_EXECUTOR,
    DEFAULT_STORE,
    AuditFile,
    ExecutorOption,
    PolicyOption,
    SetOption,
    StoreOption,
    WorkersOption,
)

__all__ = ["advise"]


def advise(  # noqa: PLR0913  a parameter is an option
    audit: AuditFile,
    out: Annotated[Path, typer.Option("--out", help="Folder for advice.json, advice.md and each audit.")] = Path(
        "advice"
    ),
    *,
    names: Annotated[
        str | None,
        typer.Option(
            "--changes",
            metavar="NAME,...",
            help="Changes to try: fewer-epochs, early-stopping, weight-decay, label-smoothing, dp-sgd; default: all.",
            autocompletion=completion.training_changes,
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    workers: WorkersOption = None,
    executor: ExecutorOption = DEFAULT_EXECUTOR,
    changes: SetOption = None,
    policy: PolicyOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print the advice as JSON, and nothing else.")] = False,
) -> None:
    """Measure which change of the training lowers what failing formats leak: each change is an audit of its own.

    Exit codes: 0 nothing fails, or a change is enough, 1 no change is enough, 2 error, 3 undecided.
    """
    from edgeaudit import api
    from edgeaudit.cli.progress import ProgressView
    from edgeaudit.report.advice import render_advice

    console = Console()
    with ProgressView(Console(quiet=True) if json else console, workers) as view:
        found = api.advise(
            audit,
            out,
            tried=[name.strip() for name in names.split(",")] if names is not None else (),
            store=store,
            workers=workers,
            executor=executor,
            changes=changes or (),
            policy=policy,
            listener=view,
            notify=None if json else partial(console.print, soft_wrap=True, highlight=False),
        )
    if json:
        print_json(found.model_dump(mode="json"))
    else:
        console.print(render_advice(found))
        console.print(f"Advice: {out / 'advice.md'}  Figures: {out / 'advice.json'}", soft_wrap=True, highlight=False)
    raise typer.Exit(found.exit_code)
