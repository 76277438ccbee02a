"""Which ways to devices there are."""

from __future__ import annotations

from edgeaudit.devices.oip.transport import EndpointWay
from edgeaudit.devices.qemu.transport import EmulatedWay
from edgeaudit.devices.ssh.transport import SshWay
from edgeaudit.devices.transport import Way
from edgeaudit.endpoint import EMULATED, Reach
from edgeaudit.errors import DeviceError

__all__ = ["find_way"]


def find_way(reach: Reach) -> Way:
    """The way that `reach.via` names; `DeviceError` for one that there is not."""
    scheme, separator, _ = reach.via.partition("://")
    if reach.via == EMULATED:
        return EmulatedWay(reach)
    if separator and scheme == "ssh":
        return SshWay(reach)
    if separator and scheme in {"http", "https", "oip"}:
        return EndpointWay(reach)
    raise DeviceError(
        f"'{reach.via}' is no way to a device; there are: {EMULATED}, ssh://user@host, and http://, https:// or oip:// "
        "with host and port of a server that is already there"
    )
