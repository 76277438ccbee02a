# ruff: noqa: ARG002
"""A server that is already there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeaudit.devices.ways import Serving, Way
from edgeaudit.errors import DeviceError

__all__ = ["EndpointWay"]


class EndpointWay(Way):
    """A server that is already there."""

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
