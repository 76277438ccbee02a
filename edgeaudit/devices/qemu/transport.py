"""QEMU user-mode emulation of the CPU in a device's profile."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from edgeaudit.devices.agent_process import AgentProcess
from edgeaudit.devices.profiles import find_profile
from edgeaudit.devices.qemu.prepare import Emulation
from edgeaudit.devices.transport import DeviceProperties, InferenceSession, Transport, TransportSpec
from edgeaudit.endpoint import Endpoint
from edgeaudit.errors import DeviceError

__all__ = ["EmulatedTransport"]

_START_SECONDS = 600.0
"""Timeout of the agent's start: 4 to 15 seconds on an idle core, many times that on a busy one."""

_ANSWER_SECONDS = 3600.0
"""Timeout of a response: inference that takes 10 ms on a board takes a second here, and a request has many records."""


class EmulatedTransport(Transport):
    """QEMU user-mode emulation of the CPU in a device's profile. Each session is a single-threaded process."""

    spec = TransportSpec("emulated", "emulated", "QEMU user-mode emulation of the CPU in a device's profile")
    timed = False
    exclusive = False
    loads = True

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        if endpoint.profile is None:
            raise DeviceError(f"'{endpoint.via}' needs a profile, which defines the CPU to emulate")

    @cached_property
    def emulation(self) -> Emulation:
        """The emulation; `DeviceError` if the profile does not exist or cannot be emulated."""
        profile = str(self.endpoint.profile)
        return Emulation(find_profile(profile), profile)

    def facts(self, runtime: str) -> DeviceProperties:
        """See `Transport.facts`. Recorded when the guest was prepared; starts nothing."""
        return self.emulation.facts(runtime)

    def serve(
        self,
        runtime: str,
        artifacts: Mapping[str, Path],
        options: Mapping[str, object],
        *,
        max_body: int | None = None,
    ) -> InferenceSession:
        """See `Transport.serve`. The folders must exist until the session is closed: `restore` reads them again."""
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
