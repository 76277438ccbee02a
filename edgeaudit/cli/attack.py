"""The verb `attack`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from edgeaudit.cli import completion
from edgeaudit.cli.console import Console
from edgeaudit.cli.options import RunFolder, RunStoreOption, WorkersOption

__all__ = ["attack"]


def attack(
    run: RunFolder,
    attacks: Annotated[
        str | None,
        typer.Option(
            "--attacks",
            help="Names, separated by commas, or 'all', which is meant without --weaker.",
            autocompletion=completion.attacks,
        ),
    ] = None,
    weaker: Annotated[
        str | None,
        typer.Option(
            "--weaker",
            help="Weaker exposures, as in threat.weaker, separated by commas.",
            autocompletion=completion.weaker,
        ),
    ] = None,
    store: RunStoreOption = None,
    workers: WorkersOption = None,
) -> None:
    """Run more attacks on the answers of a finished run, or at weaker exposures, and write its files again.

    No model is trained, exported or queried. Data, modules and store are found through the run's spec.json.
    """
    from edgeaudit import api
    from edgeaudit.cli.progress import ProgressView, clock
    from edgeaudit.report.terminal import render

    started = time.monotonic()
    console = Console()
    with ProgressView(console, workers) as view:
        result = api.attack_run(
            run, _names(attacks), weaker=_names(weaker), store=store, workers=workers, listener=view
        )
    console.print(render(result))
    console.print(
        f"{view.executed} attack jobs in {clock(time.monotonic() - started)}, nothing else. "
        f"Report: {run / 'report.html'}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    raise typer.Exit(result.verdict.exit_code)


def _names(given: str | None) -> list[str]:
    return [] if given is None else [name.strip() for name in given.split(",")]
