"""The verb `plan`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from edgeaudit.cli.options import DEFAULT_STORE, AuditFile, StoreOption, WorkersOption, executor_for

__all__ = ["plan"]

_COUNTS = {
    "members": "members",
    "nonmembers": "nonmembers",
    "reference": "reference records",
    "classes": "classes",
    "duplicates": "exact duplicates",
}


def plan(audit: AuditFile, store: StoreOption = DEFAULT_STORE, workers: WorkersOption = None) -> None:
    """Say what `run` would do: records, models, jobs by stage, and a time estimate. Nothing is trained."""
    from edgeaudit.cli.progress import ProgressView, clock
    from edgeaudit.config.audit import load_spec
    from edgeaudit.graph.estimate import estimate
    from edgeaudit.graph.executor import raise_errors
    from edgeaudit.pipeline.audit import prepare
    from edgeaudit.report.words import counted
    from edgeaudit.stages.probe import Probe
    from edgeaudit.stages.train import Train

    console = Console()
    spec = load_spec(audit)
    opened, executor = executor_for(audit, store, workers)
    with executor, ProgressView(console, executor.workers) as view:
        prepared = prepare(spec, opened, executor, view)
        recipe_seconds = None
        trains = [job for job in prepared.plan.jobs.values() if isinstance(job, Train)]
        if trains and not any(opened.has(*job.ref) for job in trains):
            probe = Probe(train=trains[0])
            raise_errors(executor.run({probe.ref: probe}, view))
            recipe_seconds = opened.read(probe).recipe_seconds
    about = prepared.population.about
    counts = ", ".join(f"{about[key]} {name}" for key, name in _COUNTS.items())
    console.print(
        f"{about['source']}: {counts}; records of shape {tuple(about['input_shape'])}", markup=False, highlight=False
    )
    table = Table("stage", "jobs", "stored", "to do", "about", box=None, pad_edge=False)
    total = 0.0
    for row in estimate(prepared.plan.jobs, opened, recipe_seconds):
        table.add_row(row.stage, str(row.jobs), str(row.stored), str(row.jobs - row.stored), clock(row.seconds))
        total += row.seconds
    console.print(table)
    console.print(
        f"about {clock(total / executor.workers)} on {counted(executor.workers, 'worker')} of one thread "
        f"({clock(total)} of one core)",
        highlight=False,
    )
