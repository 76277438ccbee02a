"""The verb `export`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from edgeaudit.cli.console import Console
from edgeaudit.cli.options import RunFolder, RunStoreOption

__all__ = ["export"]


def export(
    run: RunFolder,
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write; default: evidence.npz in the run's folder.")
    ] = None,
    shadows: Annotated[
        bool | None,
        typer.Option(
            "--shadows/--no-shadows",
            help="Include the answers of the shadows; by default up to 1 GiB before compression.",
            show_default=False,
        ),
    ] = None,
    store: RunStoreOption = None,
) -> None:
    """Write the evidence of a finished run, from which others recompute its figures with numpy alone.

    One .npz of answers, labels, ids, memberships, masks, scores and thresholds, each described in it; no record itself.
    It tells who was a member: the file is readable by its owner alone.

    Data, modules and store are found through the run's spec.json.
    """
    from edgeaudit import api

    say = partial(Console().print, soft_wrap=True, highlight=False)
    file = api.export(run, out, shadows=shadows, store=store, notify=say)
    say(f"Evidence: {file.path} ({file.arrays} arrays, {file.bytes:,} bytes; it names members, keep it private)")
