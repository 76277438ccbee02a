"""The verb `verify`."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated

import typer

from edgeaudit.cli.console import Console
from edgeaudit.errors import EdgeAuditError

__all__ = ["verify"]


def verify(
    evidence: Annotated[Path, typer.Argument(metavar="EVIDENCE", help="What `edgeaudit sign` wrote.")],
    key: Annotated[
        Path,
        typer.Option("--key", metavar="PUBLIC.PEM", help="The public key of whoever is trusted to sign."),
    ],
    artifacts: Annotated[
        list[Path],
        typer.Option("--artifact", metavar="FILE", help="A model file that is about to ship; again for more of them."),
    ],
    audit: Annotated[
        Path | None, typer.Option("--audit", metavar="AUDIT.JSON", help="An audit.json that has to be the signed one.")
    ] = None,
    budgets: Annotated[
        Path | None,
        typer.Option("--budgets", metavar="AUDIT.YAML", help="A file whose budgets have to be those that were judged."),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="FILE", help="The policy that has to be the one that was judged."),
    ] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check before a deployment that these very files were audited and are within their budgets.

    Exit codes: 0 verified, 1 signature, digest or verdict says no, or a waiver has ended, 2 it cannot be read, 3 the
    budgets of a file are inconclusive or not judged, or the audit is not valid.
    """
    from edgeaudit import api

    try:
        found = api.verify(evidence, key, artifacts, audit=audit, budgets=budgets, policy=policy)
    except EdgeAuditError as exc:
        if json:  # a program reads one object, whatever happens
            typer.echo(json_text.dumps({"verified": False, "exit_code": 2, "reasons": [str(exc)]}))
        raise
    if json:
        typer.echo(json_text.dumps(found.to_json(), indent=1, allow_nan=False))
    else:
        Console(highlight=False, soft_wrap=True).print(found.line)
    raise typer.Exit(found.exit_code)
