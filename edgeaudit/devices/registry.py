"""Transports to devices by name; another package offers one through the entry-point group `edgeaudit.transports`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgeaudit.errors import DeviceError
from edgeaudit.registry import Registry

if TYPE_CHECKING:
    from edgeaudit.devices.transport import TransportSpec, Way
    from edgeaudit.endpoint import Reach

__all__ = ["TRANSPORTS", "find_way", "transport_name"]

TRANSPORTS: Registry[Way, TransportSpec] = Registry(
    noun="transport",
    group="edgeaudit.transports",
    base="edgeaudit.devices.transport:Way",
    own={
        "emulated": "edgeaudit.devices.qemu.transport:EmulatedWay",
        "ssh": "edgeaudit.devices.ssh.transport:SshWay",
        "oip": "edgeaudit.devices.oip.transport:EndpointWay",
    },
    error=DeviceError,
)
_SCHEMES: Mapping[str, str] = {"http": "oip", "https": "oip"}
"""Schemes of addresses that are not called as their transport is."""


def find_way(reach: Reach) -> Way:
    """The transport that `reach.via` names; `DeviceError` for one that is not known."""
    name = transport_name(reach.via)
    if name is None:
        written = ", ".join(spec.written for spec in TRANSPORTS.specs())
        raise DeviceError(f"'{reach.via}' names no known transport to a device; there are: {written}")
    return TRANSPORTS.find(name)(reach)


def transport_name(via: str) -> str | None:
    """The name of the transport of an address, `name` or `scheme://...`; None where there is none."""
    scheme, separator, _ = via.partition("://")
    name = _SCHEMES.get(scheme, scheme)
    known = name in TRANSPORTS.names() and bool(separator) == (name != "emulated")
    return name if known else None
