"""The verb `doctor`."""

from __future__ import annotations

import typer
from rich.table import Table

from edgeaudit.cli.console import Console

__all__ = ["doctor"]


def doctor() -> None:
    """Show what is installed, which versions, and the pip line for what is missing.

    Exit code 2 where nothing can be audited.
    """
    from edgeaudit.exporters import PassSpec, pass_specs
    from edgeaudit.host.fingerprint import cpu_flags, cpu_name, int8_sums_saturate
    from edgeaudit.pipeline.environment import version
    from edgeaudit.runtimes.base import RuntimeSpec
    from edgeaudit.runtimes.registry import runtime_specs

    console = Console()
    console.print(
        f"edgeaudit {version()} on {cpu_name()} ({' '.join(cpu_flags()) or 'no known flags'})", highlight=False
    )
    if int8_sums_saturate():
        console.print(
            "this CPU has no VNNI: ONNX Runtime's and OpenVINO's int8 sums would saturate, so audits use kernels that "
            "do not",
            highlight=False,
        )
    table = Table("needed by", "package", "version", box=None, pad_edge=False)
    missing: set[str] = set()
    usable = 0
    specs: list[PassSpec | RuntimeSpec] = [*pass_specs(), *runtime_specs()]
    for spec in specs:
        found = spec.installed()
        usable += all(found.values())
        for package, number in found.items():
            table.add_row(spec.name, package, number or "missing")
            if number is None:
                missing.add(spec.remedy)
    console.print(table)
    for remedy in sorted(missing):
        console.print(f"missing: {remedy}", highlight=False)
    if not missing:
        console.print("every toolchain and runtime is installed", highlight=False)
    raise typer.Exit(0 if usable else 2)
