"""The verb `devices list`."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from edgeaudit.cli.console import Console, print_json
from edgeaudit.cli.options import AsJsonOption

if TYPE_CHECKING:
    from edgeaudit.devices.profiles import Profile

__all__ = ["devices_list"]

_WIDE = 190
"""Columns from which a device takes one line; below it its name has a line, and the rest stands beneath."""


def devices_list(*, json: AsJsonOption = False) -> None:
    """List the devices with a profile.

    Their CPU, its int8 kernels in ONNX Runtime and whether these add exactly, runtimes, what else computes, what was
    verified (`none`: nothing was run; `emulated`: no board was compared), and how each can be reached.
    """
    from edgeaudit.devices.profiles import find_profile, profile_names

    console, profiles = Console(), [find_profile(name) for name in profile_names()]
    if json:
        print_json([{**profile.model_dump(mode="json", by_alias=True)} for profile in profiles])
        return
    if console.width >= _WIDE:
        console.print(_table(profiles))
        return
    for profile in profiles:
        for text in _below(profile, console.width):
            console.print(text, soft_wrap=True)


def _table(profiles: list[Profile]) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in ("device", "CPU", "int8", "runtimes", "verified", "transports"):
        table.add_column(head, overflow="fold", no_wrap=head == "device")
    for profile in profiles:
        cells = (
            profile.name, profile.cpu.name, profile.cpu.int8, ", ".join(profile.runtimes), profile.verified.by,
            ", ".join(profile.transports),
        )  # fmt: skip
        table.add_row(*cells)
    return table


def _below(profile: Profile, width: int) -> Iterator[Text]:
    yield Text.assemble((profile.name, "bold"), f"  {profile.title}")
    lines = [
        f"{profile.cpu.name}; int8: {profile.cpu.int8}",
        *(f"also: {found.name}" for found in profile.accelerators),
        ", ".join(profile.runtimes),
        f"verified: {profile.verified.by}; transports: {', '.join(profile.transports)}",
    ]
    for line in lines:
        for part in wrap(line, max(20, width - 4), subsequent_indent="  ", break_on_hyphens=False):
            yield Text(f"    {part}", "dim")
