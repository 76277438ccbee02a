"""Transports to devices by name; another package offers one through the entry-point group `edgeaudit.transports`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgeaudit.errors import DeviceError
from edgeaudit.registry import Registry

if TYPE_CHECKING:
    from edgeaudit.devices.transport import Transport, TransportSpec
    from edgeaudit.endpoint import Endpoint

__all__ = ["TRANSPORTS", "find_transport", "transport_name"]

TRANSPORTS: Registry[Transport, TransportSpec] = Registry(
    noun="transport",
    group="edgeaudit.transports",
    base="edgeaudit.devices.transport:Transport",
    own={
        "emulated": "edgeaudit.devices.qemu.transport:EmulatedTransport",
        "ssh": "edgeaudit.devices.ssh.transport:SshTransport",
        "oip": "edgeaudit.devices.oip.transport:OipTransport",
    },
    error=DeviceError,
)
_SCHEMES: Mapping[str, str] = {"http": "oip", "https": "oip"}
"""URL schemes that differ from the name of their transport."""


def find_transport(endpoint: Endpoint) -> Transport:
    """The transport of `endpoint.via`; `DeviceError` if it is unknown."""
    name = transport_name(endpoint.via)
    if name is None:
        written = ", ".join(spec.written for spec in TRANSPORTS.specs())
        raise DeviceError(f"'{endpoint.via}' is not an address of a known transport to a device; known: {written}")
    return TRANSPORTS.find(name)(endpoint)


def transport_name(via: str) -> str | None:
    """The name of the transport of an address, `name` or `scheme://...`; None if it is unknown."""
    scheme, separator, _ = via.partition("://")
    name = _SCHEMES.get(scheme, scheme)
    known = name in TRANSPORTS.names() and bool(separator) == (name != "emulated")
    return name if known else None
