"""The verb `cache ls | clean`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from edgeaudit.cli.options import DEFAULT_STORE, StoreOption
from edgeaudit.errors import StoreError
from edgeaudit.graph.store import Store

__all__ = ["app"]

app = typer.Typer(help="Look at the store of finished work, or empty it.", no_args_is_help=True)


def _open(path: Path) -> Store:
    if not path.is_dir():
        raise StoreError(f"there is no store at {path}")
    return Store(path)


@app.command("ls")
def ls(store: StoreOption = DEFAULT_STORE) -> None:
    """Show how many entries of each kind the store has, and how large they are."""
    table = Table("kind", "entries", "MB", box=None, pad_edge=False)
    for kind, (entries, size) in _open(store).usage().items():
        table.add_row(kind, str(entries), f"{size / 1e6:.1f}")
    Console().print(table)


@app.command("clean")
def clean(
    store: StoreOption = DEFAULT_STORE,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove every entry of the store. Runs already written are not touched."""
    opened = _open(store)
    if not yes:
        typer.confirm(f"Remove all finished work in {store}?", abort=True)
    Console().print(f"removed {opened.clean()} entries", highlight=False)
