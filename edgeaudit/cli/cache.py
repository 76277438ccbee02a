"""The verb `cache ls | verify | clean | purge-records | purge`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from edgeaudit.cli.console import Console, print_json
from edgeaudit.cli.options import DEFAULT_STORE, AsJsonOption, RunStoreOption, StoreOption
from edgeaudit.errors import StoreError

if TYPE_CHECKING:
    from edgeaudit.graph.store import Store

__all__ = ["app"]

app = typer.Typer(help="List, verify or empty the store of finished work.", no_args_is_help=True)

YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


def _open(path: Path) -> Store:
    if not path.is_dir():
        raise StoreError(f"there is no store at {path}")
    from edgeaudit.graph.store import MARKER, Store

    if not (path / MARKER).is_file():
        raise StoreError(f"{path} is not an edgeaudit store: it has no {MARKER}; it was not changed")
    return Store(path.resolve())


@app.command("ls")
def ls(store: StoreOption = DEFAULT_STORE, *, json: AsJsonOption = False) -> None:
    """Show how many entries of each kind the store has, and how large they are."""
    if json:
        usage = _open(store).usage().items()
        print_json([{"kind": kind, "entries": entries, "bytes": size} for kind, (entries, size) in usage])
        return
    table = Table("kind", "entries", "MB", box=None, pad_edge=False)
    for kind, (entries, size) in _open(store).usage().items():
        table.add_row(kind, str(entries), f"{size / 1e6:.1f}")
    Console().print(table)


@app.command("verify")
def verify(
    store: StoreOption = DEFAULT_STORE,
    *,
    drop: Annotated[
        bool, typer.Option("--drop", help="Remove damaged entries; the next run computes them again.")
    ] = False,
) -> None:
    """Check the digest of every file of every entry. Exit code 2 if one is damaged and was not dropped."""
    console, opened = Console(highlight=False, soft_wrap=True), _open(store)
    count = 0
    for damaged in opened.verify():
        count += 1
        console.print(f"damaged: {damaged.kind} {damaged.key}: {damaged.file}")
        if drop:
            opened.drop(damaged.kind, damaged.key)
    entries = sum(1 for _ in opened.entries())
    if count and not drop:
        raise StoreError(
            f"{count} of {entries} entries are damaged; a run recomputes those that it reads, --drop removes them all"
        )
    console.print(f"{entries} entries are intact" + (f", {count} damaged were dropped" if count else ""))


@app.command("clean")
def clean(store: StoreOption = DEFAULT_STORE, *, yes: YesOption = False) -> None:
    """Remove every entry of the store. Output folders of finished runs are not changed."""
    opened = _open(store)
    if not yes:
        typer.confirm(f"Remove all finished work in {store}?", abort=True)
    Console().print(f"removed {opened.clean()} entries", highlight=False)


@app.command("purge-records")
def purge_records(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN...]", help="Runs whose records are removed; default: all of the store."),
    ] = None,
    store: RunStoreOption = None,
    *,
    yes: YesOption = False,
) -> None:
    """Remove raw records from the store, and evidence and thumbnails from the folders of runs; figures stay.

    `report` and `check` work as before. `attack` and `export` need the records: run the audit again first, which reads
    them from the data.
    """
    from edgeaudit.pipeline.purge import purge_records as purge
    from edgeaudit.pipeline.recorded import read_recorded

    folders, console = runs or [], Console(highlight=False, soft_wrap=True)
    where = store or (read_recorded(folders[0]).store if folders else DEFAULT_STORE)
    opened = _open(where)
    if not yes:
        of = ", ".join(map(str, folders)) or "all runs"
        typer.confirm(f"Remove the records of {of} from the store {where}?", abort=True)
    done = purge(opened, folders)
    count = f"{done.populations} population{'' if done.populations == 1 else 's'}"
    console.print(f"removed the records of {count} from {where}")
    for file in done.files:
        console.print(f"{'written again' if file.exists() else 'removed'}: {file}")


@app.command("purge")
def purge(store: StoreOption = DEFAULT_STORE, *, yes: YesOption = False) -> None:
    """Remove the whole store with all records: entries, logs, query logs of devices, and the folder."""
    opened = _open(store)
    if not yes:
        typer.confirm(f"Remove the store {store} with all records, models and logs in it?", abort=True)
    Console().print(f"removed {opened.purge()} entries and the store", highlight=False)
