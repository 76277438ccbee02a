"""The verb `formats`."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgeaudit.calls import Call
from edgeaudit.exporters import PassSpec, find_pass
from edgeaudit.formats import FORMATS
from edgeaudit.runtimes.base import RuntimeSpec
from edgeaudit.runtimes.registry import find_runtime

__all__ = ["formats"]


def formats() -> None:
    """List the formats: what is done to the model, what serves the result, what it needs, whether that is installed.

    Each is a name for a composition: `passes` and `runtime` are what audit.yaml can say instead, with other parameters.
    """
    table = Table(box=None, pad_edge=False)
    for head in ("format", "precision", "passes", "runtime", "needs", "installed"):
        table.add_column(head, overflow="fold", no_wrap=head == "format")
    remedies: set[str] = set()
    for found in FORMATS.values():
        specs: list[PassSpec | RuntimeSpec] = [find_pass(step.name).spec for step in found.passes]
        specs.append(find_runtime(found.runtime).spec)
        lacking = [(name, spec.remedy) for spec in specs for name, has in spec.installed().items() if has is None]
        missing = {name for name, _ in lacking}
        remedies.update(remedy for _, remedy in lacking)
        steps = ", ".join(Call(step.name, (), step.params).text() for step in found.passes) or "-"
        served = Call(found.runtime, (), found.runtime_options).text()
        needs = ",".join(dict.fromkeys(spec.extra for spec in specs))
        table.add_row(
            *map(escape, (found.id, found.precision, steps, served, f"[{needs}]")),
            f"no: {', '.join(sorted(missing))}" if missing else "yes",
        )
    console = Console()
    console.print(table)
    for remedy in sorted(remedies):
        console.print(f"missing: {remedy}", markup=False, highlight=False)
