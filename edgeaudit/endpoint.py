"""Where a format is served, as plain data that a specification, a job's inputs and a report can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

__all__ = ["EMULATED", "LOCAL", "Reach"]

LOCAL: Final = "local"
"""The device name of the machine that the audit runs on."""

EMULATED: Final = "emulated"
"""`Reach.via` of a device that QEMU emulates on this machine."""


@dataclass(frozen=True)
class Reach:
    """How a device is reached, as plain data, so that a job's inputs can hold it. Nothing here is secret.

    via: `emulated`, `ssh://[user@]host[:port]`, `http[s]://host[:port][/path]` or `oip://` for http.
    profile: name or path of the device's profile; None where none describes it.
    python: the interpreter on the far side of ssh.
    token: name of the environment variable with the token of a server that is already there.
    model: what a server that is already there calls the artifact; None: as the file is called, without its suffix.
    keep: leave what ssh copied on the device.

    Examples:
        >>> pi = Reach("ssh://pi@raspberrypi.local", profile="raspberry-pi-5")
        >>> Reach.from_dict(pi.to_dict()) == pi
        True
    """

    via: str
    profile: str | None = None
    python: str = "python3"
    token: str | None = None
    model: str | None = None
    keep: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Reach:
        """The other way round."""
        return cls(**raw)
