"""Where a format is served, as plain data for a specification, a job's inputs and a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

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
        >>> Endpoint("ssh://pi@raspberrypi.local", profile="raspberry-pi-5").python
        'python3'
    """

    via: str
    profile: str | None = None
    python: str = "python3"
    token: str | None = None
    model: str | None = None
    keep: bool = False
