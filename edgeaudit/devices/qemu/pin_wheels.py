"""Write `wheel_hashes.json`: the SHA-256 of every wheel that the device profiles need (`make wheel-hashes`).

Committed hashes are kept; pip resolves the sets of added or changed profiles.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from edgeaudit.devices.profiles import find_profile, profile_names
from edgeaudit.devices.qemu.prepare import wheel_sets
from edgeaudit.devices.qemu.wheels import HASHES, WheelSet, known_hashes, resolved_hashes

__all__ = ["pin_wheels"]


def pin_wheels(sets: Iterable[WheelSet], path: Path) -> None:
    """Write the hashes of the sets to `path`. Raises `ToolchainError` if pip cannot resolve one of them."""
    known = known_hashes()
    pinned = {wheels.key: dict(known.get(wheels.key) or resolved_hashes(wheels)) for wheels in sets}
    path.write_text(json.dumps(pinned, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    profiles = [find_profile(name) for name in profile_names()]
    committed = Path(str(resources.files("edgeaudit.devices.qemu").joinpath(HASHES)))
    pin_wheels((wheels for profile in profiles for wheels in wheel_sets(profile).values()), committed)
