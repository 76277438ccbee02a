"""Where a format is served, as plain data for a specification, a job's inputs and a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

__all__ = ["EMULATED", "LOCAL", "Endpoint"]

LOCAL: Final = "local"
"""The device name of the machine that the audit runs on."""

EMULATED: Final = "emulated"
"""`Endpoint.via` of a device that QEMU emulates on this machine."""


@dataclass(frozen=True)
class Endpoint:
    """How a device is reached, as plain data that a job's inputs can hold. Contains no secrets.

    via: `emulated`, `ssh://[user@]host[:port]`, `http[s]://host[:port][/path]` or `oip://` for http.
    profile: name or path of the device's profile; None if it has none.
    python: the interpreter on the device, for ssh.
    token: name of the environment variable with the token of a running server.
    model: the running server's name for the artifact; None: the file's name without its suffix.
    keep: leave the files that ssh copied on the device.

    Examples:
        >>> pi = Endpoint("ssh://pi@raspberrypi.local", profile="raspberry-pi-5")
        >>> Endpoint.from_dict(pi.to_dict()) == pi
        True
    """

    via: str
    profile: str | None = None
    python: str = "python3"
    token: str | None = None
    model: str | None = None
    keep: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Endpoint:
        """The inverse of `to_dict`."""
        return cls(**raw)
