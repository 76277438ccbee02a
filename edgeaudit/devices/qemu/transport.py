"""Under QEMU's user mode, with the CPU of the device's profile."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from edgeaudit.devices.agent_process import AgentProcess
from edgeaudit.devices.profiles import find_profile
from edgeaudit.devices.qemu.prepare import Emulation
from edgeaudit.devices.transport import Serving, TransportSpec, Way
from edgeaudit.endpoint import Reach
from edgeaudit.errors import DeviceError

__all__ = ["EmulatedWay"]

_START_SECONDS = 600.0
"""Until the agent serves: 4 to 15 seconds on a free core, many times that where others compute."""

_ANSWER_SECONDS = 3600.0
"""Until an answer is given up: a network that takes 10 ms on a board takes a second here, and a request has many."""


class EmulatedWay(Way):
    """Under QEMU's user mode, with the CPU of the device's profile. Each serving is a process with one thread."""

    spec = TransportSpec("emulated", "emulated", "QEMU's user mode, with the CPU of a device's profile")
    timed = False
    alone = False
    loads = True

    def __init__(self, reach: Reach) -> None:
        super().__init__(reach)
        if reach.profile is None:
            raise DeviceError(f"'{reach.via}' needs a profile, which says what to emulate")

    @cached_property
    def emulation(self) -> Emulation:
        """What it runs in; `DeviceError` for a profile that there is not, or that cannot be emulated."""
        called = str(self.reach.profile)
        return Emulation(find_profile(called), called)

    def facts(self, runtime: str) -> dict[str, Any]:
        """See `Way.facts`. As the guest said when it was prepared; nothing is started."""
        return self.emulation.facts(runtime)

    def serve(
        self,
        runtime: str,
        artifacts: Mapping[str, Path],
        options: Mapping[str, Any],
        *,
        max_body: int | None = None,
    ) -> Serving:
        """See `Way.serve`. The folders must stay until the serving is closed: `restore` reads them again."""
        emulation = self.emulation
        command = emulation.guest(runtime).command(emulation.agent())
        return AgentProcess(
            command,
            runtime,
            artifacts,
            options,
            max_body=max_body,
            start_seconds=_START_SECONDS,
            answer_seconds=_ANSWER_SECONDS,
        )
