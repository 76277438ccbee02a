"""The verb `formats`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from edgeaudit.environment import installed
from edgeaudit.exporters import PassSpec, find_pass
from edgeaudit.formats import FORMATS
from edgeaudit.runtimes.base import RuntimeSpec
from edgeaudit.runtimes.registry import find_runtime

__all__ = ["formats"]


def formats() -> None:
    """List the formats: what is done to the model, what serves the result, and whether it is installed here."""
    table = Table("format", "precision", "passes", "runtime", "installed", box=None, pad_edge=False)
    for found in FORMATS.values():
        specs: list[PassSpec | RuntimeSpec] = [find_pass(step.name).spec for step in found.passes]
        specs.append(find_runtime(found.runtime).spec)
        lacking = sorted({spec.extra for spec in specs for package in spec.packages if installed(package) is None})
        ready = "yes" if not lacking else f"no: edgeaudit\\[{','.join(lacking)}]"
        steps = ", ".join(step.name for step in found.passes) or "-"
        table.add_row(found.id, found.precision, steps, found.runtime, ready)
    Console().print(table)
