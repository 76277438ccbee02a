"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeaudit.cli import completion

__all__ = [
    "DEFAULT_EXECUTOR", "DEFAULT_STORE", "AsJsonOption", "AuditFile", "BaselineOption", "ExecutorOption", "JUnitOption",
    "JsonOption", "MarkdownOption", "PolicyOption", "QuietOption", "RunFolder", "RunStoreOption", "SarifOption",
    "SetOption", "StoreOption", "WorkersOption", "WriteOption",
]  # fmt: skip

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")]
AuditFile = Annotated[Path, typer.Argument(metavar="AUDIT.YAML", help="The audit to run.")]
StoreOption = Annotated[
    Path,
    typer.Option(
        "--store",
        envvar="EDGEAUDIT_STORE",
        help="Where finished work is kept; audits that share it share models, artifacts and answers.",
    ),
]
RunStoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        envvar="EDGEAUDIT_STORE",
        help="Where finished work is kept; default: where the run kept it.",
        show_default=False,
    ),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Worker processes of one thread each; default: one a core.")
]
ExecutorOption = Annotated[
    str, typer.Option("--executor", help="What runs the jobs.", autocompletion=completion.executors)
]
WriteOption = Annotated[
    list[str] | None,
    typer.Option(
        "--write",
        metavar="WRITER",
        help="A report to write beside those of audit.yaml: html, text or another package's; again for more of them.",
        autocompletion=completion.writers,
    ),
]
JUnitOption = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Write the verdict as JUnit XML to this file.")
]
SarifOption = Annotated[
    Path | None, typer.Option("--sarif", metavar="FILE", help="Write the verdict as SARIF 2.1.0 to this file.")
]
BaselineOption = Annotated[
    Path | None,
    typer.Option(
        "--baseline",
        metavar="OLD",
        help="The folder of an earlier run: the SARIF report then says of each budget whether it is new, unchanged, "
        "updated or absent.",
    ),
]
MarkdownOption = Annotated[
    Path | None, typer.Option("--markdown", metavar="FILE", help="Write a summary as Markdown to this file.")
]
JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the verdict and its cases as JSON to this file.")
]
PolicyOption = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        help="A policy: budgets that are judged beside those of audit.yaml, and waivers (docs/policy.md).",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Print the verdict alone.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A key of audit.yaml to replace, such as threat.shadows=16; the value is YAML; again for more of them.",
    ),
]
DEFAULT_EXECUTOR = "local"
DEFAULT_STORE = Path(".edgeaudit")

AsJsonOption = Annotated[bool, typer.Option("--json", help="Print the list as JSON.")]
