"""The verb `attack`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from edgeaudit.attacks.registry import ALL, find_attack
from edgeaudit.cli.options import DEFAULT_STORE, StoreOption, WorkersOption, executor_for
from edgeaudit.cli.progress import ProgressView, clock
from edgeaudit.config.audit import recorded_spec
from edgeaudit.config.threat import ThreatSpec
from edgeaudit.errors import RunError, SpecError
from edgeaudit.pipeline.assemble import require_folder
from edgeaudit.pipeline.audit import prepare, run_audit
from edgeaudit.pipeline.plan import TRACED
from edgeaudit.report.schema import read_audit
from edgeaudit.report.terminal import render

__all__ = ["attack"]

_READS = frozenset({"measure", "control", "weaken", "inspect", "latency"})
"""Kinds of jobs that read what is there and ask about no record."""


def attack(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    attacks: Annotated[
        str | None,
        typer.Option("--attacks", help="Names, separated by commas, or 'all', which is meant without --weaker."),
    ] = None,
    weaker: Annotated[
        str | None, typer.Option("--weaker", help="Weaker exposures, as in threat.weaker, separated by commas.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    workers: WorkersOption = None,
) -> None:
    """Run more attacks on the answers of a finished run, or at weaker exposures, and write its files again.

    No model is trained, exported or asked.

    A run whose model or data is a function of your own is attacked from the folder of its audit.yaml.
    """
    started = time.monotonic()
    console = Console()
    path = run / "audit.json"
    found = recorded_spec(read_audit(path).spec, path)
    asked = _names(attacks) if attacks is not None else [] if weaker else [ALL]
    for name in asked:
        if name != ALL:
            find_attack(name)
    # The run's own attacks stay: its figures are not to be lost, and its budgets are judged on them. `all` comes first,
    # since it has an order of its own.
    names = sorted(dict.fromkeys((*found.attacks, *asked)), key=lambda name: name != ALL)
    threat = found.threat if weaker is None else _exposed(found.threat, _names(weaker))
    spec = found.with_attacks(names).model_copy(update={"threat": threat})
    opened, executor = executor_for(Path("audit.yaml"), store, workers)
    with executor, ProgressView(console, executor.workers) as view:
        prepared = prepare(spec, opened, executor, view)
        todo = prepared.todo(opened)
        missing = [job.label for job in todo if job.kind not in _READS]
        asks = {job.kind for job in todo} & set(TRACED)
        if missing and {job.kind for job in todo} <= {*_READS, *asks}:
            new = ", ".join(name for kind, name in TRACED.items() if kind in asks)
            raise RunError(
                f"{new} needs more than the answers of {run} ({len(missing)} jobs: {missing[0]}, ...): name it under "
                "attacks in audit.yaml and run the audit again, which does no more than that"
            )
        if missing:
            raise RunError(
                f"the store {opened.root} lacks {len(missing)} of this run's models and answers ({missing[0]}, ...): "
                "name its store with --store, or run the audit again, since its data, code or toolchains changed"
            )
        require_folder(run)
        view.begin(prepared.plan.jobs, set(prepared.plan.jobs) - {job.ref for job in todo})
        result, executed = run_audit(prepared, opened, executor, view, run)
    console.print(render(result))
    console.print(
        f"{executed} attack jobs in {clock(time.monotonic() - started)}, nothing else. Report: {run / 'report.html'}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    raise typer.Exit(result.verdict.exit_code)


def _names(given: str) -> list[str]:
    return [name.strip() for name in given.split(",")]


def _exposed(threat: ThreatSpec, weaker: list[str]) -> ThreatSpec:
    """The threat with more weaker exposures. Raises `SpecError` for one that is none."""
    levels = list(dict.fromkeys((*threat.weaker, *weaker)))
    try:
        return ThreatSpec.model_validate(threat.model_dump() | {"weaker": levels})
    except ValidationError as exc:
        said = "; ".join(str(error["msg"]).removeprefix("Value error, ") for error in exc.errors())
        raise SpecError(f"--weaker: {said}") from exc
