"""The verb `environments prepare | list | remove`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from edgeaudit.cli import completion
from edgeaudit.cli.console import Console, print_json
from edgeaudit.cli.options import AsJsonOption

__all__ = ["app"]

app = typer.Typer(
    help="Make, list or remove the Python environments of runtimes that cannot share this one.", no_args_is_help=True
)

_NameArgument = Annotated[
    str, typer.Argument(help="As in `edgeaudit environments list`.", autocompletion=completion.environments)
]


@app.command("list")
def list_(*, json: AsJsonOption = False) -> None:
    """Show which environments there are, what for, and whether they were made."""
    from edgeaudit.devices.environments import ENVIRONMENTS

    if json:
        print_json(
            [
                {
                    "name": found.name,
                    "packages": list(found.requirements),
                    "why": found.why,
                    "folder": str(found.folder) if found.prepared else None,
                }
                for found in ENVIRONMENTS.values()
            ]
        )
        return
    table = Table("environment", "packages", "why", "made", box=None, pad_edge=False)
    for found in ENVIRONMENTS.values():
        made = str(found.folder) if found.prepared else f"no: {found.remedy}"
        table.add_row(found.name, ", ".join(found.requirements), found.why, made)
    Console().print(table)


@app.command("prepare")
def prepare(
    name: _NameArgument,
    python: Annotated[Path | None, typer.Option(help="The Python to make it with; found by itself otherwise.")] = None,
) -> None:
    """Make an environment with pip, unless it is there already."""
    from edgeaudit.devices.environments import find_environment

    found = find_environment(name)
    Console().print(f"{name} is in {found.prepare(python)}", highlight=False, soft_wrap=True)


@app.command("remove")
def remove(name: _NameArgument) -> None:
    """Remove an environment."""
    from edgeaudit.devices.environments import find_environment

    found = find_environment(name)
    there = found.remove()
    Console().print(f"removed {found.folder}" if there else f"{name} was not there", highlight=False, soft_wrap=True)
