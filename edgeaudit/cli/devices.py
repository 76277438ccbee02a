"""The verb `devices`: list, emulate, probe and deploy."""

from __future__ import annotations

import typer

from edgeaudit.cli.devices_deploy import deploy
from edgeaudit.cli.devices_emulate import emulate
from edgeaudit.cli.devices_list import devices_list
from edgeaudit.cli.devices_probe import probe
from edgeaudit.cli.devices_show import devices_show

__all__ = ["app"]

app = typer.Typer(help="List, emulate, probe and deploy to devices.", no_args_is_help=True)
app.command("list")(devices_list)
app.command("show")(devices_show)
app.command("probe")(probe)
app.command("emulate")(emulate)
app.command("deploy")(deploy)
