"""requirements.lock: a SHA-256 for each pin that `make` installs. requirements-others.lock: for the other pins.

`python -m edgeaudit.host.lock` writes both anew after pins have changed, in an environment that has them. pip resolves
each pin and reports the digest of the file that it would install, here: Linux on x86-64, CPython 3.11. Other platforms
have other wheels, and install by constraints.txt alone.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edgeaudit.errors import ToolchainError

__all__ = ["LOCKS", "PINS", "locked", "needed", "pins", "write_locks"]

PINS = "constraints.txt"
LOCKS = ("requirements.lock", "requirements-others.lock")
"""What `make` installs, and the other pins: of releasing, and of a package that another one replaces."""
_EXTRAS = frozenset(("all", "dev", "docs"))
_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})")
_HEAD = """\
# {what} with the SHA-256 of each file, for Linux on x86-64 and CPython 3.11. `make lock` writes it.
# pip install --require-hashes --no-deps -r {name}
"""
_WHAT = ("The pins of constraints.txt that `make` installs", "The other pins of constraints.txt")


def pins(path: Path) -> dict[str, str]:
    """Name -> version of a file of pins. Raises `ToolchainError` for a line that is none."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, equals, version = line.partition("==")
            if not equals:
                raise ToolchainError(f"{path}: '{line}' is no pin; write name==version")
            found[name] = version
    return found


def locked(path: Path) -> dict[str, tuple[str, str]]:
    """Canonical name -> (version, SHA-256) of a lock file. Raises `ToolchainError` for a line that is not locked."""
    found: dict[str, tuple[str, str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            match = _LINE.fullmatch(line)
            if match is None:
                raise ToolchainError(
                    f"{path}: '{line}' has no version with a SHA-256; `make lock` writes the file anew"
                )
            found[canonicalize_name(match["name"])] = match["version"], match["sha256"]
    return found


def needed(distribution: str = "edgeaudit", extras: frozenset[str] = _EXTRAS) -> set[str]:
    """Canonical names of what an installed distribution requires with extras, and of what these require."""
    found: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [(canonicalize_name(distribution), extras)]
    while todo:
        name, wanted = todo.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        try:
            texts = metadata.requires(name) or []
        except metadata.PackageNotFoundError as exc:
            raise ToolchainError(f"{name} is not installed: run make with the new pins, and then make lock") from exc
        for requirement in map(Requirement, texts):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in (*wanted, "")):
                todo.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
                found.add(canonicalize_name(requirement.name))
    return found - {canonicalize_name(distribution)}


def write_locks(pinned: Path, installed: set[str], reports: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write the lock files beside the file of pins, with a hash for each pin.

    Args:
        pinned: the file of pins.
        installed: canonical names of what the first file has; the second one has the rest.
        reports: pip's installation reports; by default pip is asked, which downloads what has no metadata of its own
            (minutes).

    Raises:
        ToolchainError: pip cannot resolve a pin, or reports no SHA-256 for it.
    """
    resolved = {}
    for item in (item for report in reports or [_report(pinned)] for item in report["install"]):
        about, archive = item["metadata"], item["download_info"].get("archive_info", {})
        digest = archive.get("hashes", {}).get("sha256") or archive.get("hash", "").removeprefix("sha256=")
        resolved[canonicalize_name(about["name"])] = about["version"], digest
    lines: tuple[list[str], list[str]] = ([], [])
    for name, version in pins(pinned).items():
        found, digest = resolved.get(canonicalize_name(name), ("", ""))
        if found != version or not digest:
            raise ToolchainError(f"pip reports no SHA-256 for {name}=={version}: is there a file for this platform?")
        other = canonicalize_name(name) not in installed
        lines[other].append(f"{name}=={version} --hash=sha256:{digest}\n")
    for file, what, some in zip(LOCKS, _WHAT, lines, strict=True):
        text = _HEAD.format(what=what, name=file) + "".join(some)
        pinned.with_name(file).write_text(text, encoding="utf-8")


def _report(pinned: Path) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory(prefix="edgeaudit-") as folder:
        path = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run",
                   "--ignore-installed", "--no-deps", "--report", str(path), "-r", str(pinned)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["no message"]
            raise ToolchainError(f"pip cannot resolve {pinned}: {said[-1]}")
        found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found


if __name__ == "__main__":
    write_locks(Path(PINS), needed())
