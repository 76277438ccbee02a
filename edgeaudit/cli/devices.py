"""The verbs `devices list | show`."""

from __future__ import annotations

import typer

from edgeaudit.cli.devices_list import devices_list
from edgeaudit.cli.devices_show import devices_show

__all__ = ["app"]

app = typer.Typer(help="What is known of devices, and how they are reached.", no_args_is_help=True)
app.command("list")(devices_list)
app.command("show")(devices_show)
