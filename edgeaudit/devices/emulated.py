# ruff: noqa: ARG002
"""Under QEMU's user mode, with the CPU of the device's profile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeaudit.devices.ways import Serving, Way
from edgeaudit.errors import DeviceError

__all__ = ["EmulatedWay"]


class EmulatedWay(Way):
    """Under QEMU's user mode, with the CPU of the device's profile."""

    def facts(self, runtime: str) -> dict[str, Any]:
        """See `Way.facts`."""
        raise DeviceError(f"{self.reach.via} is not offered yet")

    def serve(
        self,
        runtime: str,
        artifacts: Mapping[str, Path],
        options: Mapping[str, Any],
        *,
        max_body: int | None = None,
    ) -> Serving:
        """See `Way.serve`."""
        raise DeviceError(f"{self.reach.via} is not offered yet")
