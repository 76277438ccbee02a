"""The verb `devices probe`: compare what a device reports with its profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from edgeaudit.agent import RUNTIMES
from edgeaudit.cli import completion
from edgeaudit.cli.console import Console
from edgeaudit.devices.registry import find_transport
from edgeaudit.errors import ArtifactError, DeviceError, DeviceLost, MissingEnvironment

if TYPE_CHECKING:
    from edgeaudit.agent.messages import Fingerprint
    from edgeaudit.devices.probing import Row
    from edgeaudit.devices.profiles import Profile
    from edgeaudit.devices.transport import Transport

__all__ = ["probe"]


def probe(
    device: Annotated[
        str,
        typer.Argument(
            help="A profile (emulated), ssh://user@host, or the http:// address of a server.",
            autocompletion=completion.profiles,
        ),
    ],
    profile: Annotated[
        str | None,
        typer.Option(help="To compare with; of an emulated device its own.", autocompletion=completion.profiles),
    ] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(help="Only this one; may be given several times.", autocompletion=completion.agent_runtimes),
    ] = None,
    python: Annotated[str, typer.Option(help="The Python interpreter on the ssh host.")] = "python3",
    token: Annotated[str | None, typer.Option(help="Name of the variable with a server's token.")] = None,
) -> None:
    """Start the agent there, query its fingerprint and numerical behaviour, and flag differences from the profile."""
    from edgeaudit.devices.profiles import find_profile
    from edgeaudit.endpoint import EMULATED, Endpoint

    there = "://" in device
    endpoint = Endpoint(device, profile, python=python, token=token) if there else Endpoint(EMULATED, device)
    transport = find_transport(endpoint)
    known = None if endpoint.profile is None else find_profile(endpoint.profile)
    rows, absent = _asked(transport, known, tuple(runtime or ()))
    console = Console()
    if not rows and not absent:
        console.print(f"{device} reports nothing about itself", highlight=False)
        return
    if rows:
        console.print(_table(known, rows))
    for line in absent:
        console.print(line, highlight=False, soft_wrap=True)
    if known is not None and rows:
        flagged = sum(row.agrees is False for row in rows)
        console.print(f"{flagged} of {len(rows)} disagree with {known.name}" if flagged else f"as {known.name} says")


def _asked(transport: Transport, profile: Profile | None, chosen: tuple[str, ...]) -> tuple[list[Row], list[str]]:
    """(what the device says, runtimes that are not there with the reason)."""
    from edgeaudit.devices.probing import AS_IT_COMES, machine_rows, runtime_rows

    rows: list[Row] = []
    absent: list[str] = []
    for name in chosen or _offered(transport, profile):
        try:
            said = _fingerprint(transport, name, {})
            usual = (
                _fingerprint(transport, name, AS_IT_COMES[name]) if transport.loads and name in AS_IT_COMES else None
            )
        except DeviceLost:
            raise
        except (ArtifactError, DeviceError, MissingEnvironment) as exc:
            absent.append(f"{name}: {exc}")
            continue
        if not said:
            continue
        runtime = said.get("runtime")
        serves = name if runtime is None else runtime["name"]  # what a server that is there serves with
        rows += [] if rows else machine_rows(profile, said)
        rows += runtime_rows(profile, serves, said, as_it_comes=False)
        rows += [] if usual is None else runtime_rows(profile, serves, usual, as_it_comes=True)
    return rows, absent


def _offered(transport: Transport, profile: Profile | None) -> tuple[str, ...]:
    """Runtimes worth asking for: those prepared, or that the profile has, or that the agent knows."""
    from edgeaudit.devices.qemu.transport import EmulatedTransport

    if isinstance(transport, EmulatedTransport):
        emulation = transport.emulation
        prepared = tuple(name for name in emulation.runtimes if emulation.prepared(name))
        return prepared or emulation.runtimes[:1]  # which says how it is prepared
    if not transport.loads:
        return (next(iter(RUNTIMES)),)
    return tuple(profile.runtimes) if profile is not None else tuple(RUNTIMES)


def _fingerprint(transport: Transport, runtime: str, options: Mapping[str, object]) -> Fingerprint:
    session = transport.serve(runtime, {}, options)
    try:
        return session.fingerprint()
    finally:
        session.close()


def _table(profile: Profile | None, rows: list[Row]) -> Table:
    table = Table("", "" if profile is None else profile.name, "the device", "", box=None, pad_edge=False)
    for row in rows:
        flag = "differs" if row.agrees is False else ""
        table.add_row(row.what, row.profile, row.device, flag)
    return table
