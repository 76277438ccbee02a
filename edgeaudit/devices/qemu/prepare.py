"""Prepare a device's emulation in the user's cache: QEMU, a C library and Python, and the runtimes.

Three kinds of folders, shared between devices with the same requirements: `qemu-*`, `userland-*` (unpacked Debian
packages for the device's machine) and `wheels-*` (one per set of requirements). A folder's name contains a digest of
its requirements, so changed pins never use an old folder; the folder records what was installed, with the SHA-256 of
every package and wheel. `guest-*` holds the fingerprint of a guest with the device's CPU.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, NotRequired, TypedDict, TypeVar, cast

from edgeaudit.agent.messages import Machine
from edgeaudit.devices.agent_file import agent_in
from edgeaudit.devices.folders import about, cache_root, land, remove
from edgeaudit.devices.profiles import Profile
from edgeaudit.devices.qemu.debian import Fetched, fetch_debs, host_lacks, unpack
from edgeaudit.devices.qemu.guest import Guest
from edgeaudit.devices.qemu.wheels import WheelSet, fetch_wheels
from edgeaudit.devices.transport import DeviceProperties, properties
from edgeaudit.digests import file_sha256
from edgeaudit.errors import DeviceError, MissingEnvironment, ToolchainError

__all__ = ["Emulation", "Took", "wheel_sets"]

_ROOT = "EDGEAUDIT_EMULATION"

_QEMU_SUITE = "trixie-backports"
"""Its QEMU 11 has cortex-a78ae. Before 8.2 an ARM guest reads the host's /proc/cpuinfo, and importing ONNX Runtime
1.32 crashes. Its programs are static, so they run on older systems."""

_USERLANDS = {"3.9": ("bullseye", "2.31"), "3.11": ("bookworm", "2.36"), "3.13": ("trixie", "2.41")}
"""Python version -> the Debian release that has it, and the glibc of that release."""

_LIBRARIES = ("libstdc++6", "libgomp1")
"""System libraries that wheels need beyond those of Python."""

_IMPORTS = {
    "executorch": "executorch.runtime", "litert": "ai_edge_litert.interpreter", "onnxruntime": "onnxruntime",
    "openvino": "openvino", "tflite-runtime": "tflite_runtime.interpreter",
}  # fmt: skip


@dataclass(frozen=True)
class Took:
    """The cost of preparing a folder.

    what: its content, in words. fresh: whether it was created now. bytes_down: downloaded bytes.
    """

    what: str
    fresh: bool
    seconds: float
    bytes_down: int
    bytes_on_disk: int
    verified: str


class _About(TypedDict):
    """What a folder records of itself. verified: how its content was checked. bytes_down: downloaded bytes."""

    verified: NotRequired[str]
    bytes_down: NotRequired[int]
    bytes_on_disk: NotRequired[int]


class _Deb(TypedDict):
    name: str
    version: str
    sha256: str


class _DebsAbout(_About):
    """Debian packages. sha256: over those of all packages, in hex."""

    packages: list[_Deb]
    sha256: str


class _QemuAbout(_DebsAbout):
    """version: of the package. programs: machine -> SHA-256 of the emulator."""

    version: str
    programs: dict[str, str]


class _GuestAbout(_About):
    """says: what a guest reports about its CPU and Python."""

    says: Machine


class _Wheel(TypedDict):
    name: str
    version: str
    file: str
    sha256: str
    bytes: int


class _WheelsAbout(_About):
    """versions: package -> version. sha256: over those of all wheels, in hex."""

    requirements: list[str]
    versions: dict[str, str | None]
    wheels: list[_Wheel]
    sha256: str


_A_co = TypeVar("_A_co", bound=_About, covariant=True)


@dataclass(frozen=True)
class _Piece(Generic[_A_co]):
    """A folder of the emulation and the function that fills it, which returns what the folder records of itself."""

    what: str
    folder: Path
    fill: Callable[[Path], _A_co]

    def prepare(self) -> Took:
        started = time.monotonic()
        fresh = land(self.folder, self.fill)
        recorded: _About | None = self.about
        down, size, verified = 0, 0, ""
        if recorded is not None:
            down = int(recorded.get("bytes_down", 0)) if fresh else 0
            size, verified = int(recorded.get("bytes_on_disk", 0)), recorded.get("verified", "")
        return Took(self.what, fresh, time.monotonic() - started, down, size, verified)

    @property
    def about(self) -> _A_co | None:
        """None if it is not prepared. The folder's name has a digest of what was asked for, so this is its own form."""
        return cast("_A_co | None", about(self.folder))

    @property
    def recorded(self) -> _A_co:
        """`about` of a folder that is prepared; `MissingEnvironment` if it was removed in the meantime."""
        recorded = self.about
        if recorded is None:
            raise MissingEnvironment(f"the folder {self.folder} of the {self.what} is missing; prepare it again")
        return recorded


class Emulation:
    """A device's emulation on this host.

    called: the name or path that the user gave for the profile. Raises `DeviceError` if QEMU cannot emulate it.
    """

    def __init__(self, profile: Profile, called: str | None = None) -> None:
        if profile.emulation is None:
            raise DeviceError(f"'{profile.name}' cannot be emulated: QEMU has no CPU model with the same arithmetic")
        self.profile = profile
        self._called = called or profile.name
        self.cpu = profile.emulation.cpu
        self._machine = profile.cpu.machine
        self._python = _debian_python(profile.system.python)
        self._sets = wheel_sets(profile)
        self._root = cache_root(_ROOT, "emulation")

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Names of the runtimes that can be emulated."""
        return tuple(self._sets)

    @property
    def remedy(self) -> str:
        """The command that prepares it."""
        return f"edgeaudit devices emulate {self._called}"

    @property
    def begun(self) -> bool:
        """Whether it is prepared for at least one runtime."""
        return self._fingerprint().about is not None

    def prepared(self, runtime: str) -> bool:
        """Whether everything that a runtime needs is prepared."""
        return all(piece.about is not None for piece in self._pieces((runtime,)))

    def prepare(self, runtimes: Collection[str] = (), report: Callable[[Took], None] = lambda _: None) -> list[Took]:
        """Prepare what is missing; returns the cost of each part, also passed to `report` as soon as the part is done.

        runtimes: only these. Raises `DeviceError` if the profile cannot provide one, `ToolchainError` if this host
        cannot run the emulation, and `StoreError` if the disk is full.
        """
        for name in runtimes:
            self._require(name)
        pieces = self._pieces(tuple(runtimes) or self.runtimes)
        if any(piece.about is None for piece in pieces) and (lacks := host_lacks()) is not None:
            raise ToolchainError(lacks)
        costs = []
        for piece in pieces:
            costs.append(piece.prepare())
            report(costs[-1])
        return costs

    def remove(self, runtimes: Collection[str] = (), keep: Collection[Path] = ()) -> list[Path]:
        """Remove the folders, or only those of the given runtimes, except `keep`; returns the removed folders."""
        for name in runtimes:
            self._require(name)
        pieces = self._pieces(tuple(runtimes) or self.runtimes)
        mine = [self._wheels(name) for name in runtimes] if runtimes else pieces
        return [piece.folder for piece in mine if piece.folder not in keep and remove(piece.folder)]

    def folders(self) -> set[Path]:
        """All folders of this emulation."""
        return {piece.folder for piece in self._pieces(self.runtimes)}

    def guest(self, runtime: str) -> Guest:
        """The guest that runs a runtime; `MissingEnvironment` with the command to prepare it if it is not prepared."""
        self._require(runtime)
        if not self.prepared(runtime):
            raise MissingEnvironment(
                f"the emulation of '{self.profile.name}' with '{runtime}' is not prepared. Prepare it with: "
                f"{self.remedy}"
            )
        return self._guest(self._wheels(runtime).folder)

    def agent(self) -> Path:
        """The path of the agent's file."""
        return agent_in(self._root)

    def facts(self, runtime: str) -> DeviceProperties:
        """The properties that decide a runtime's outputs. `MissingEnvironment` if it is not prepared."""
        self.guest(runtime)
        qemu, userland, wheels = self._qemu().recorded, self._userland().recorded, self._wheels(runtime).recorded
        return {
            **properties(self._fingerprint().recorded["says"], wheels["versions"]),
            "emulator": {"name": "qemu", "version": qemu["version"], "sha256": qemu["programs"][self._machine]},
            "userland": userland["sha256"],
            "wheels": wheels["sha256"],
        }

    def _require(self, runtime: str) -> None:
        if runtime in self._sets:
            return
        if runtime in self.profile.runtimes:
            raise DeviceError(
                f"'{runtime}' on '{self.profile.name}' cannot be emulated: pip cannot install it. Remove its formats "
                "from the device's 'formats'"
            )
        known = ", ".join(self.profile.runtimes)
        raise DeviceError(f"the profile '{self.profile.name}' has no runtime '{runtime}'; it has: {known}")

    def _pieces(self, runtimes: tuple[str, ...]) -> list[_Piece[_About]]:
        """Each piece once, in order of dependency."""
        wheels = {piece.folder: piece for piece in map(self._wheels, runtimes)}
        return [self._qemu(), self._userland(), self._fingerprint(), *wheels.values()]

    def _qemu(self) -> _Piece[_QemuAbout]:
        key = ["qemu-user", _QEMU_SUITE]

        def fill(draft: Path) -> _QemuAbout:
            with tempfile.TemporaryDirectory(dir=draft) as debs:
                fetched = fetch_debs("x86_64", _QEMU_SUITE, ["qemu-user"], Path(debs), with_dependencies=False)
                names = {machine: f"qemu-{machine}" for machine in ("aarch64", "x86_64")}
                unpack(fetched.debs[0].path, draft, [f"usr/bin/{name}" for name in names.values()])
            programs = {machine: file_sha256(draft / "usr" / "bin" / name) for machine, name in names.items()}
            return {**_of_debs(fetched, draft), "version": fetched.debs[0].version, "programs": programs}

        return self._piece("qemu", key, fill, "QEMU")

    def _userland(self) -> _Piece[_DebsAbout]:
        suite, _ = _USERLANDS[self._python]
        packages = (f"python{self._python}", *_LIBRARIES)

        def fill(draft: Path) -> _DebsAbout:
            with tempfile.TemporaryDirectory(dir=draft) as debs:
                fetched = fetch_debs(self._machine, suite, packages, Path(debs), with_dependencies=True)
                for deb in fetched.debs:
                    unpack(deb.path, draft)
            _tidy(draft)
            return _of_debs(fetched, draft)

        what = f"userland of Debian {suite} for {self._machine} with Python {self._python}"
        return self._piece(f"userland-{self._machine}-{self._python}", [suite, packages], fill, what)

    def _fingerprint(self) -> _Piece[_GuestAbout]:
        key = [self.cpu, self._qemu().folder.name, self._userland().folder.name]

        def fill(_: Path) -> _GuestAbout:
            says: Machine = {
                **self._guest(None).fingerprint(self.agent()),
                "os": f"userland of Debian {_USERLANDS[self._python][0]}",
            }
            return {"says": says, "verified": "it was run"}

        return self._piece(f"guest-{self.cpu}", key, fill, f"guest with the CPU {self.cpu}")

    def _wheels(self, runtime: str) -> _Piece[_WheelsAbout]:
        wanted = self._sets[runtime]

        def fill(draft: Path) -> _WheelsAbout:
            pinned = wanted.pinned
            wheels = fetch_wheels(wanted, draft)
            self._guest(draft).try_import(_IMPORTS[runtime])  # also writes the compiled bytecode
            return {
                "requirements": list(wanted.requirements),
                "versions": {wheel.name: wheel.version for wheel in wheels},
                "wheels": [cast("_Wheel", asdict(wheel)) for wheel in wheels],
                "sha256": _digest([wheel.sha256 for wheel in wheels]),
                "bytes_down": sum(wheel.bytes for wheel in wheels),
                "bytes_on_disk": _size(draft),
                "verified": "SHA-256 of every wheel recorded, without an earlier one to compare with"
                if pinned is None
                else "SHA-256 of every wheel, by edgeaudit's list",
            }

        key = [wanted.key, wanted.pinned]
        return self._piece(f"wheels-{self._machine}-{self._python}", key, fill, " ".join(wanted.requirements))

    def _piece(self, name: str, key: object, fill: Callable[[Path], _A_co], what: str) -> _Piece[_A_co]:
        return _Piece(what, self._root / f"{name}-{_digest(key)[:12]}", fill)

    def _guest(self, packages: Path | None) -> Guest:
        program = self._qemu().folder / "usr" / "bin" / f"qemu-{self._machine}"
        root = self._userland().folder
        return Guest(program, root, self.cpu, root / "usr" / "bin" / f"python{self._python}", packages)


def wheel_sets(profile: Profile) -> dict[str, WheelSet]:
    """Runtime -> the wheels of its emulation, for runtimes that pip can install; {} for a profile without emulation."""
    if profile.emulation is None:
        return {}
    python = _debian_python(profile.system.python)
    return {
        name: WheelSet(profile.cpu.machine, python, _USERLANDS[python][1], build.requirements)
        for name, build in profile.runtimes.items()
        if build.requirements
    }


def _debian_python(python: str) -> str:
    """The Debian Python used for a device's Python: the same version, or the next newer one, or the newest."""
    minors = sorted(int(known.partition(".")[2]) for known in _USERLANDS)
    wanted = int(python.partition(".")[2])
    return f"3.{next((minor for minor in minors if minor >= wanted), minors[-1])}"


def _of_debs(fetched: Fetched, draft: Path) -> _DebsAbout:
    return {
        "packages": [{"name": deb.name, "version": deb.version, "sha256": deb.sha256} for deb in fetched.debs],
        "sha256": _digest(sorted(deb.sha256 for deb in fetched.debs)),
        "bytes_down": fetched.bytes_down,
        "bytes_on_disk": _size(draft),
        "verified": f"SHA-256 of every package by Debian's signed index (keys: {fetched.keys})",
    }


def _tidy(root: Path) -> None:
    """Prepare a folder of unpacked packages for QEMU's -L, which falls back to the host's files."""
    for name in ("lib", "lib64"):  # newer Debian releases have them in usr only
        if not (root / name).exists() and (root / "usr" / name).is_dir():
            (root / name).symlink_to(f"usr/{name}")
    for path in root.rglob("*"):  # an absolute link would resolve to the host's file
        if path.is_symlink() and path.readlink().is_absolute():
            inside = root / path.readlink().relative_to("/")
            path.unlink()
            path.symlink_to(os.path.relpath(inside, path.parent))
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc" / "ld.so.cache").touch()  # the host's cache would make an x86-64 guest load the host's libraries
    for name in ("doc", "man", "locale"):
        shutil.rmtree(root / "usr" / "share" / name, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
