"""The verb `plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from edgeaudit.cli.console import Console
from edgeaudit.cli.options import DEFAULT_STORE, AuditFile, PolicyOption, SetOption, StoreOption, WorkersOption

if TYPE_CHECKING:
    from edgeaudit.gate.needed import BudgetNeed
    from edgeaudit.report.model import PopulationInfo

__all__ = ["plan"]


def plan(
    audit: AuditFile,
    store: StoreOption = DEFAULT_STORE,
    workers: WorkersOption = None,
    changes: SetOption = None,
    policy: PolicyOption = None,
) -> None:
    """Say what `run` would do: records, models, jobs by stage, a time estimate, and what each budget needs.

    Nothing is trained.
    """
    from edgeaudit import api
    from edgeaudit.cli.progress import ProgressView, clock
    from edgeaudit.report.words import counted, printable

    console = Console()
    with ProgressView(console, workers) as view:
        summary = api.plan(audit, store=store, workers=workers, changes=changes or (), policy=policy, listener=view)
    console.print(_records(summary.population), highlight=False)
    for note in summary.population.notes:
        console.print(printable(note), highlight=False)
    if (task := _task(summary.population, summary.outputs)) is not None:
        console.print(task, highlight=False)
    table = Table("stage", "jobs", "stored", "to do", "about", box=None, pad_edge=False)
    for row in summary.stages:
        table.add_row(row.stage, str(row.jobs), str(row.stored), str(row.jobs - row.stored), clock(row.seconds))
    console.print(table)
    console.print(
        f"about {clock(summary.seconds / summary.workers)} on {counted(summary.workers, 'worker')} of one thread "
        f"({clock(summary.seconds)} of one core)",
        highlight=False,
    )
    if summary.budgets:
        console.print("what a model that leaks nothing needs to pass in 80% of audits:")
    for need in summary.budgets:
        console.print(budget_text(need), style=None if need.decidable else "yellow", highlight=False)
    for note in summary.notes:
        console.print(printable(note), style="yellow", highlight=False)


def budget_text(need: BudgetNeed) -> str:
    """What a budget needs, and whether the audit has it: for a pass in 80% of audits of a model that leaks nothing."""
    from edgeaudit.gate.needed import side_names
    from edgeaudit.report.words import counted, figure, printable

    subset = "" if need.subset == "all" else f" on {need.subset}"
    judged = f"this {need.scope}, {counted(need.attacks, 'attack')}{subset}"
    owner = "" if need.policy is None else f", policy {printable(need.policy)}"
    name = f"budget {need.metric} {need.limit} ({need.level}, {judged}{owner})"
    if need.records is None:
        return f"{name}: the records that it needs are not known beforehand: {need.note}"
    each = " of each class" if need.subset == "class:*" else ""
    alone = "" if need.alone in (None, need.records) else f" ({need.alone:,} for one attack; all must be within)"
    inside, outside = side_names(need.subset)
    needs = f"needs {need.records:,} {inside}{each} and as many {outside}{alone}"
    if need.available is None or need.decides is None:
        return f"{name}: {needs}; {need.note}"
    has = f"this audit has {need.available:,}, enough for a limit of {figure(need.metric, need.decides)}"
    remedy = "" if need.decidable else ": audit more records, or set a larger limit"
    return f"{name}: {needs}; {has}{remedy}"


def _task(drawn: PopulationInfo, outputs: int | None) -> str | None:
    """What the model is for, unless it is one class of as many outputs."""
    if drawn.task != "classification":
        return f"task: {drawn.task}, {drawn.outputs:,} outputs"
    if outputs == 1:
        return "one output for two classes: audited as 0 for class 0 and the logit for class 1"
    return None


def _records(drawn: PopulationInfo) -> str:
    return (
        f"{drawn.source}: {drawn.members} members, {drawn.nonmembers} nonmembers, {drawn.reference} reference records, "
        f"{drawn.classes} classes, {drawn.duplicates} exact duplicates; records of shape {drawn.input_shape}"
    )
