"""The verb `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from edgeaudit.cli.console import Console

__all__ = ["doctor"]


def doctor(
    sbom: Annotated[
        Path | None,
        typer.Option("--sbom", metavar="FILE", help="Write what is installed as CycloneDX 1.6 in JSON, and no more."),
    ] = None,
) -> None:
    """Show what is installed, which versions, and the pip line for what is missing.

    Exit code 2 where nothing can be audited.
    """
    if sbom is not None:
        _write_sbom(sbom)
        return
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


def _write_sbom(path: Path) -> None:
    """Write the bill of materials, with the hashes of lock files in the current folder."""
    from edgeaudit.host.sbom import sbom_text
    from edgeaudit.report.files import write_atomically

    write_atomically(path, sbom_text(Path.cwd()))
    Console().print(f"SBOM: {path}", highlight=False, soft_wrap=True)
