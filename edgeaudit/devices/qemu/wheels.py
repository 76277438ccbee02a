"""Install wheels for another machine or Python version into a folder, with pip.

`wheel_hashes.json` lists, for every set of requirements of the built-in device profiles, all packages of the set with
their SHA-256, which pip checks (`--require-hashes`); `pin_wheels` writes that file. A set that is not in it, from a
user's own profile, is resolved by pip and trusted as the index serves it; its hashes are recorded in any case.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.machinery import PathFinder
from pathlib import Path

from edgeaudit.digests import file_sha256
from edgeaudit.errors import ToolchainError, store_errors

__all__ = ["HASHES", "Wheel", "WheelSet", "fetch_wheels", "known_hashes", "resolved_hashes"]

HASHES = "wheel_hashes.json"
"""The file with the committed hashes, in this package."""

_GLIBC = (41, 39, 36, 35, 34, 31, 28, 27, 26, 24, 17)
"""Minor versions of glibc 2 used in wheel tags, newest first."""
_OLD_TAGS = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True)
class Wheel:
    """An installed wheel."""

    name: str
    version: str
    file: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class WheelSet:
    """Requirements (exact pins) for a machine, a Python version (as in 3.11) and a glibc version (as in 2.36)."""

    machine: str
    python: str
    libc: str
    requirements: tuple[str, ...]

    @property
    def key(self) -> str:
        """Its name among the committed hashes."""
        return f"{self.machine} python {self.python} glibc {self.libc}: {' '.join(sorted(self.requirements))}"

    @property
    def pinned(self) -> Mapping[str, str] | None:
        """name==version -> SHA-256 of every package, if committed."""
        return known_hashes().get(self.key)


@cache
def known_hashes() -> Mapping[str, Mapping[str, str]]:
    """The committed hashes: key of a set -> name==version -> SHA-256."""
    hashes: dict[str, dict[str, str]] = json.loads(
        resources.files("edgeaudit.devices.qemu").joinpath(HASHES).read_text(encoding="utf-8")
    )
    return hashes


def fetch_wheels(wanted: WheelSet, folder: Path) -> tuple[Wheel, ...]:
    """Install the set into a new folder; returns its wheels.

    Raises `ToolchainError` if pip is missing or fails, for example on a hash mismatch.
    """
    what = f"fetching {' '.join(wanted.requirements)} for {wanted.machine} and Python {wanted.python}"
    with store_errors(f"the folder {folder.parent}"), tempfile.TemporaryDirectory(prefix="edgeaudit-pip-") as scratch:
        downloaded = Path(scratch, "wheels")
        pinned = wanted.pinned
        if pinned is None:
            requested = [*wanted.requirements]
        else:
            lines = [f"{name} --hash=sha256:{digest}\n" for name, digest in pinned.items()]
            (listed := Path(scratch, "requirements.txt")).write_text("".join(lines), encoding="utf-8")
            requested = ["--require-hashes", "--no-deps", "-r", str(listed)]
        _pip(["download", "--dest", str(downloaded), *_target(wanted), *requested], what)
        files = sorted(downloaded.glob("*.whl"))
        wheels = tuple(map(_wheel, files))
        local = ["--no-index", "--no-deps", "--no-compile", "--target", str(folder), *_target(wanted)]
        _pip(["install", *local, *map(str, files)], what)
    return wheels


def resolved_hashes(wanted: WheelSet) -> dict[str, str]:
    """name==version -> SHA-256, as pip resolves the set now; `ToolchainError` if pip is missing or fails."""
    with tempfile.TemporaryDirectory(prefix="edgeaudit-pip-") as scratch:
        arguments = ["download", "--dest", scratch, *_target(wanted), *wanted.requirements]
        _pip(arguments, f"resolving {wanted.key}")
        wheels = map(_wheel, sorted(Path(scratch).glob("*.whl")))
        return {f"{wheel.name}=={wheel.version}": wheel.sha256 for wheel in wheels}


def _target(wanted: WheelSet) -> list[str]:
    tag = wanted.python.replace(".", "")
    newest = int(wanted.libc.partition(".")[2])
    platforms = [f"manylinux_2_{minor}_{wanted.machine}" for minor in _GLIBC if minor <= newest]
    old = _OLD_TAGS if wanted.machine == "x86_64" else {17: _OLD_TAGS[17]}
    platforms += [f"{name}_{wanted.machine}" for name in old.values()]
    return [
        "--only-binary=:all:", "--implementation", "cp", "--python-version", wanted.python,
        *(part for abi in (f"cp{tag}", "abi3", "none") for part in ("--abi", abi)),
        *(part for platform in platforms for part in ("--platform", platform)),
    ]  # fmt: skip


def _wheel(path: Path) -> Wheel:
    name, version, *_ = path.stem.split("-")
    return Wheel(name.lower().replace("_", "-"), version, path.name, file_sha256(path), path.stat().st_size)


def _pip(arguments: Sequence[str], what: str) -> None:
    # Not importlib.util.find_spec: setuptools' finder mistakes it for a running pip and permanently disables its
    # distutils, after which nothing that needs setuptools can be imported, such as nncf.torch (setuptools 84).
    if PathFinder.find_spec("pip") is None:
        raise ToolchainError(
            f"{what} needs pip, which {sys.executable} does not have. Install it with: python -m ensurepip"
        )
    command = [sys.executable, "-I", "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())  # noqa: S603  ours
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no output"]
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")] or lines[-1:]
        raise ToolchainError(f"{what} failed: {' '.join(errors)}")


def _environment() -> dict[str, str]:
    """The host's environment with its index and proxy, without constraints: these are for this Python's packages."""
    return {**os.environ, "PIP_CONSTRAINT": ""}
