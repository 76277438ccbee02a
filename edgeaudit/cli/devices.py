"""The verb `devices`: what is known of them, and how they are emulated and probed."""

from __future__ import annotations

import typer

from edgeaudit.cli.devices_emulate import emulate
from edgeaudit.cli.devices_probe import probe

__all__ = ["app"]

app = typer.Typer(help="Emulate devices, and ask them what they are.", no_args_is_help=True)
app.command("emulate")(emulate)
app.command("probe")(probe)
