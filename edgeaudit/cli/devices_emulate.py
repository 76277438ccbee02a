"""The verb `devices emulate`: prepare what stands in for a device on this machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeaudit.cli import completion
from edgeaudit.cli.console import Console

if TYPE_CHECKING:
    from edgeaudit.devices.qemu.prepare import Emulation, Took

__all__ = ["emulate"]

_MB = 1e6


def emulate(
    profiles: Annotated[
        list[str],
        typer.Argument(help="As in `edgeaudit devices list`, or a .yaml file.", autocompletion=completion.profiles),
    ],
    runtime: Annotated[
        list[str] | None,
        typer.Option(help="Only this runtime; may be repeated.", autocompletion=completion.agent_runtimes),
    ] = None,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Remove what was prepared, unless others use it.")] = False,
) -> None:
    """Prepare QEMU, the device's Python and its runtimes in a cache folder, without root; quick if they are there."""
    from edgeaudit.devices.profiles import find_profile
    from edgeaudit.devices.qemu.prepare import Emulation

    emulations = [Emulation(find_profile(name), name) for name in profiles]
    runtimes = tuple(runtime or ())
    if remove:
        _remove(emulations, runtimes)
        return
    console = Console()
    begun = time.monotonic()
    found: list[Took] = []
    for emulation in emulations:
        console.print(f"{emulation.profile.name} ({emulation.cpu})", highlight=False)
        # A runtime that only some of the devices have is prepared for those.
        mine = [name for name in runtimes if name in emulation.runtimes] if len(emulations) > 1 else runtimes
        if runtimes and not mine:
            console.print(f"  has no {', '.join(runtimes)} that can be emulated", highlight=False)
            continue
        found += emulation.prepare(mine, lambda took: console.print(_line(took), highlight=False))
    fresh = [took for took in found if took.fresh]
    down, size = sum(took.bytes_down for took in fresh) / _MB, sum(took.bytes_on_disk for took in fresh) / _MB
    said = f"{down:.0f} MB fetched, {size:.0f} MB on disk" if fresh else "everything was prepared already"
    console.print(f"{said}; {time.monotonic() - begun:.1f} s", highlight=False)


def _line(took: Took) -> str:
    if not took.fresh:
        return f"  {took.what}: there"
    size = f", {took.bytes_down / _MB:.0f} MB fetched, {took.bytes_on_disk / _MB:.0f} MB on disk"
    return f"  {took.what}: {took.seconds:.1f} s{size if took.bytes_down else ''}; verified: {took.verified}"


def _remove(emulations: list[Emulation], runtimes: tuple[str, ...]) -> None:
    """Also what the named profiles share, but nothing that another prepared profile uses."""
    from edgeaudit.devices.profiles import find_profile, profile_names
    from edgeaudit.devices.qemu.prepare import Emulation

    named = {emulation.profile.name for emulation in emulations}
    others = [find_profile(name) for name in profile_names() if name not in named]
    keep: set[Path] = set()
    for profile in others:
        if profile.emulation is not None and (other := Emulation(profile)).begun:
            keep |= other.folders()
    removed = [folder for emulation in emulations for folder in emulation.remove(runtimes, keep)]
    for folder in removed:
        Console().print(f"removed {folder}", highlight=False, soft_wrap=True)
    if not removed:
        Console().print("nothing was there that no other prepared profile uses", highlight=False)
