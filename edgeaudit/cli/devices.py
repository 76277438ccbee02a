"""The verb `devices`."""

from __future__ import annotations

import typer

from edgeaudit.cli.devices_deploy import deploy

__all__ = ["app"]

app = typer.Typer(help="Reach devices.", no_args_is_help=True)
app.command("deploy")(deploy)
