"""The entry point: registers the verbs and turns errors into one message and exit code 2.

A verb's module imports what the verb does inside of it: `--help` and shell completion answer without numpy, pydantic or
any toolchain.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from edgeaudit.cli import (
    advise,
    agent,
    artifacts,
    attack,
    attacks,
    cache,
    check,
    compare,
    devices,
    doctor,
    environments,
    export,
    formats,
    init,
    inspect,
    plan,
    report,
    run,
    schema,
    sign,
    verify,
)
from edgeaudit.cli.console import Console
from edgeaudit.errors import EdgeAuditError

__all__ = ["app", "main"]

_INTERRUPTED = 130

app = typer.Typer(
    name="edgeaudit",
    help="Audits the compressed model that ships to the edge for membership leakage, in the runtime that serves it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("init")(init.init)
app.command("schema")(schema.schema)
app.command("doctor")(doctor.doctor)
app.command("inspect")(inspect.inspect)
app.command("plan")(plan.plan)
app.command("run")(run.run)
app.command("advise")(advise.advise)
app.command("attack")(attack.attack)
app.command("check")(check.check)
app.command("compare")(compare.compare)
app.command("artifacts")(artifacts.artifacts)
app.command("report")(report.report)
app.command("export")(export.export)
app.command("sign")(sign.sign)
app.command("verify")(verify.verify)
app.command("formats")(formats.formats)
app.command("attacks")(attacks.attacks)
app.command("agent")(agent.agent)
app.add_typer(cache.app, name="cache")
app.add_typer(environments.app, name="environments")
app.add_typer(devices.app, name="devices")


@app.callback(invoke_without_command=True)
def _options(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False
) -> None:
    if version:
        Console().print(f"edgeaudit {metadata.version('edgeaudit')}", highlight=False)
        raise typer.Exit


def main() -> None:
    """Run the command line. Exit codes: 0 within budget, 1 exceeded, 2 error, 3 inconclusive or invalid."""
    error = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        app()
    except EdgeAuditError as exc:
        error.print(f"error: {exc}")
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == _INTERRUPTED:  # typer turns Ctrl-C into this, without a word
            error.print("interrupted; finished work is kept, run the same command again to go on")
        raise
    except Exception as exc:  # noqa: BLE001  the command line's edge: no traceback reaches a user
        with tempfile.NamedTemporaryFile("w", prefix="edgeaudit-", suffix=".txt", delete=False) as trace:
            traceback.print_exc(file=trace)
        error.print(f"error: unexpected {type(exc).__name__}: {exc}. Please report it with {Path(trace.name)}")
        sys.exit(2)
