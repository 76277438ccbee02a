"""The verb `sign`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeaudit.cli.console import Console
from edgeaudit.cli.options import RunFolder

__all__ = ["sign"]


def sign(
    run: RunFolder,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key",
            metavar="KEY.PEM",
            help="An Ed25519 private key; default: the PEM text in the variable EDGEAUDIT_SIGNING_KEY.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The file to write; default: evidence.dsse.json in the run's folder."),
    ] = None,
    responsible: Annotated[
        str | None, typer.Option("--responsible", metavar="NAME", help="Who takes responsibility for the audit.")
    ] = None,
) -> None:
    """Sign the verdict of a finished run for a deployment step: an in-toto statement in a DSSE envelope.

    It has the digests of every audited file, of audit.json, audit.yaml and the budgets, and the figures of the budgets;
    no scores, ids of records or paths. `openssl genpkey -algorithm ed25519 -out key.pem` makes a key.
    """
    from edgeaudit import api

    signed = api.sign(run, key, out, responsible=responsible)
    warnings = Console(stderr=True, highlight=False, soft_wrap=True)
    for note in signed.notes:
        warnings.print(f"warning: {note}")
    Console(highlight=False, soft_wrap=True).print(f"Evidence: {signed.path}, signed by key {signed.key[:16]}")
