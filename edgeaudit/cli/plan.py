"""The verb `plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from edgeaudit.cli.options import DEFAULT_STORE, AuditFile, StoreOption, WorkersOption

if TYPE_CHECKING:
    from edgeaudit.report.model import PopulationInfo

__all__ = ["plan"]


def plan(audit: AuditFile, store: StoreOption = DEFAULT_STORE, workers: WorkersOption = None) -> None:
    """Say what `run` would do: records, models, jobs by stage, and a time estimate. Nothing is trained."""
    from edgeaudit import api
    from edgeaudit.cli.progress import ProgressView, clock
    from edgeaudit.report.words import counted

    console = Console()
    with ProgressView(console, workers) as view:
        summary = api.plan(audit, store=store, workers=workers, listener=view)
    console.print(_records(summary.population), markup=False, highlight=False)
    table = Table("stage", "jobs", "stored", "to do", "about", box=None, pad_edge=False)
    for row in summary.stages:
        table.add_row(row.stage, str(row.jobs), str(row.stored), str(row.jobs - row.stored), clock(row.seconds))
    console.print(table)
    console.print(
        f"about {clock(summary.seconds / summary.workers)} on {counted(summary.workers, 'worker')} of one thread "
        f"({clock(summary.seconds)} of one core)",
        highlight=False,
    )


def _records(drawn: PopulationInfo) -> str:
    return (
        f"{drawn.source}: {drawn.members} members, {drawn.nonmembers} nonmembers, {drawn.reference} reference records, "
        f"{drawn.classes} classes, {drawn.duplicates} exact duplicates; records of shape {drawn.input_shape}"
    )
