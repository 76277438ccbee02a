"""The verb `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from edgeaudit.cli import completion
from edgeaudit.cli.console import Console, print_json
from edgeaudit.cli.options import AsJsonOption
from edgeaudit.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    from edgeaudit.exporters import PassSpec
    from edgeaudit.runtimes.base import RuntimeSpec

__all__ = ["doctor"]


def doctor(
    formats: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FORMAT]...",
            help="Only what these formats need; exit code 2 where some of it is missing.",
            autocompletion=completion.formats,
        ),
    ] = None,
    sbom: Annotated[
        Path | None,
        typer.Option("--sbom", metavar="FILE", help="Write what is installed as CycloneDX 1.6 in JSON, and no more."),
    ] = None,
    *,
    json: AsJsonOption = False,
) -> None:
    """Show what is installed, which versions, and the pip line for what is missing.

    Exit code 2 where nothing can be audited.
    """
    if sbom is not None:
        _write_sbom(sbom)
        return
    from edgeaudit.host.fingerprint import cpu_flags, cpu_name, int8_sums_saturate
    from edgeaudit.pipeline.environment import version

    specs = _specs(formats or ())
    found = [(spec, spec.installed()) for spec in specs]
    usable = [all(packages.values()) for _, packages in found]
    code = 0 if (all(usable) if formats else any(usable)) else 2
    if json:
        needs = [
            {"needed_by": spec.name, "package": package, "version": number, "remedy": None if number else spec.remedy}
            for spec, packages in found
            for package, number in packages.items()
        ]
        print_json({"edgeaudit": version(), "cpu": cpu_name(), "isa": list(cpu_flags()), "packages": needs})
        raise typer.Exit(code)
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
    for spec, packages in found:
        for package, number in packages.items():
            table.add_row(spec.name, package, number or "missing")
            if number is None:
                missing.add(spec.remedy)
    console.print(table)
    for remedy in sorted(missing):
        console.print(f"missing: {remedy}", highlight=False)
    if not missing:
        what = "all that these formats need" if formats else "every toolchain and runtime"
        console.print(f"{what} is installed", highlight=False)
    raise typer.Exit(code)


def _specs(formats: list[str] | tuple[str, ...]) -> list[PassSpec | RuntimeSpec]:
    """All passes and runtimes; or those of some presets. Raises `SpecError` for one that is not known."""
    from edgeaudit.exporters import find_pass, pass_specs
    from edgeaudit.formats.presets import FORMATS
    from edgeaudit.runtimes.registry import find_runtime, runtime_specs

    if not formats:
        return [*pass_specs(), *runtime_specs()]
    found: dict[str, PassSpec | RuntimeSpec] = {}
    for name in formats:
        if name not in FORMATS:
            hint = did_you_mean(name, FORMATS)
            raise SpecError(f"'{name}' is no preset format.{hint} `edgeaudit formats` lists them")
        preset = FORMATS[name]
        found |= {step.name: find_pass(step.name).spec for step in preset.passes}
        found[preset.runtime] = find_runtime(preset.runtime).spec
    return list(found.values())


def _write_sbom(path: Path) -> None:
    """Write the bill of materials, with the hashes of lock files in the current folder."""
    from edgeaudit.host.sbom import sbom_text
    from edgeaudit.report.files import write_atomically

    write_atomically(path, sbom_text(Path.cwd()))
    Console().print(f"SBOM: {path}", highlight=False, soft_wrap=True)
