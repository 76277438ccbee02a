"""The verb `devices show`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from edgeaudit.cli import completion
from edgeaudit.cli.console import Console
from edgeaudit.errors import DeviceError

if TYPE_CHECKING:
    from edgeaudit.config.entries import Params
    from edgeaudit.devices.profiles import Profile

__all__ = ["devices_show"]


def devices_show(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="As in `edgeaudit devices list`, or a .yaml file.", autocompletion=completion.profiles
        ),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of profiles, and no profile.")
    ] = False,
) -> None:
    """Show everything that is known of a device beforehand, and where from."""
    from edgeaudit.devices.profiles import Profile, find_profile

    if schema:
        typer.echo(json.dumps(Profile.model_json_schema(by_alias=True), indent=2))
        return
    if name is None:
        raise DeviceError("name a device of `edgeaudit devices list`, or a .yaml file; or say --schema")
    profile = find_profile(name)
    if as_json:
        typer.echo(json.dumps(profile.model_dump(mode="json", by_alias=True), indent=2))
        return
    console = Console(highlight=False)
    console.print(Text.assemble((profile.name, "bold"), f"  {profile.title}"), soft_wrap=True)
    for head, lines in _sections(profile):
        console.print(Text(f"\n{head}", "bold"))
        for line in lines:
            for part in _laid_out(line, max(40, console.width)):
                console.print(Text(part), soft_wrap=True)


def _laid_out(line: str, width: int) -> list[str]:
    """A line within `width`, what goes on further in. One that is indented can be copied, and stays in one piece."""
    if line.startswith(" "):
        return [f"  {line}"]
    return wrap(line, width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)


def _sections(profile: Profile) -> Iterator[tuple[str, list[str]]]:
    yield "processor", list(_processor(profile))
    yield "memory", [" or ".join(_size(mib) for mib in profile.memory_mib)]
    yield "system", list(_system(profile))
    yield "runtimes", list(_runtimes(profile))
    if profile.accelerators:
        yield "beside the CPU", list(_accelerators(profile))
    if profile.defaults:
        yield "defaults that change answers", list(_defaults(profile))
    yield "ways", list(_ways(profile))
    yield f"verified: {profile.verified.by}", [profile.verified.compared]
    yield "sources", [f"- {source}" for source in profile.sources]


def _processor(profile: Profile) -> Iterator[str]:
    cpu = profile.cpu
    yield cpu.name
    yield f"{cpu.machine}, {cpu.cores} core{'s' if cpu.cores > 1 else ''}"
    yield f"has {' '.join(cpu.isa)}" + (f"; lacks {' '.join(cpu.lacks)}" if cpu.lacks else "")
    yield f"int8 in ONNX Runtime: {cpu.int8}"


def _system(profile: Profile) -> Iterator[str]:
    system = profile.system
    libc = f", C library {system.libc}" if system.libc else ""
    yield f"{system.name}{libc}, Python {system.python}"
    if system.note:
        yield system.note


def _runtimes(profile: Profile) -> Iterator[str]:
    for name, build in profile.runtimes.items():
        yield f"{name} {build.version}: {build.source}"
        if build.requirements:
            yield f"  pip install {' '.join(build.requirements)}"


def _accelerators(profile: Profile) -> Iterator[str]:
    for found in profile.accelerators:
        yield f"{found.name}{'. ' if found.note else ''}{found.note}"
        if found.runtime is not None:
            yield f"  runtime: {_entry(found.runtime, found.options)}"


def _defaults(profile: Profile) -> Iterator[str]:
    for found in profile.defaults:
        yield f"{found.runtime}: {found.what}"
        if found.options:
            yield f"  as an application gets it: {_entry(found.runtime, found.options)}"


def _entry(runtime: str, options: Params) -> str:
    """As audit.yaml writes a runtime with options."""
    from edgeaudit.config.entries import entry_value
    from edgeaudit.config.yaml_text import flow_yaml

    return flow_yaml(entry_value(runtime, options))


def _ways(profile: Profile) -> Iterator[str]:
    emulation = profile.emulation
    if emulation is None:
        yield "not emulated"
    else:
        yield f"emulated: QEMU {emulation.qemu} or later, -cpu {emulation.cpu}. In this it is not the device:"
        yield from (f"- {text}" for text in emulation.differs)
    yield "ssh://user@host, and http:// or oip:// with host and port of a server that is there already"


def _size(mib: int) -> str:
    return f"{mib // 1024} GB" if mib >= 1024 and mib % 1024 == 0 else f"{mib} MB"
