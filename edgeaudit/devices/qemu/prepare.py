"""What a device's emulation needs, in the user's cache: QEMU, its C library and Python, and its runtimes.

Three kinds of folders, shared between the devices that want the same: `qemu-*`, `userland-*` (Debian packages of the
device's machine, unpacked) and `wheels-*` (one for each set of requirements). A name carries a digest of what was asked
for, so other pins never meet an old folder; what was got is in the folder, with the SHA-256 of every package and
wheel. `guest-*` keeps what a guest with the device's CPU said of itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeaudit.devices.agent_file import agent_in
from edgeaudit.devices.folders import about, cache_root, land, remove
from edgeaudit.devices.profiles import Profile
from edgeaudit.devices.qemu.debian import Fetched, fetch_debs, unpack, without_host
from edgeaudit.devices.qemu.guest import Guest
from edgeaudit.devices.qemu.wheels import WheelSet, fetch_wheels
from edgeaudit.errors import DeviceError, MissingEnvironment, ToolchainError

__all__ = ["Emulation", "Took", "wheel_sets"]

_ROOT = "EDGEAUDIT_EMULATION"

_QEMU_SUITE = "trixie-backports"
"""Its QEMU 11 has cortex-a78ae. Before 8.2 an ARM guest reads the host's /proc/cpuinfo, and ONNX Runtime 1.32 does not
survive being imported. Its programs are static, so they run on older systems."""

_USERLANDS = {"3.9": ("bullseye", "2.31"), "3.11": ("bookworm", "2.36"), "3.13": ("trixie", "2.41")}
"""Python -> the Debian that has it, and that one's glibc."""

_LIBRARIES = ("libstdc++6", "libgomp1")
"""What wheels expect of a system beside what Python itself needs."""

_IMPORTS = {
    "executorch": "executorch.runtime", "litert": "ai_edge_litert.interpreter", "onnxruntime": "onnxruntime",
    "openvino": "openvino", "tflite-runtime": "tflite_runtime.interpreter",
}  # fmt: skip


@dataclass(frozen=True)
class Took:
    """What making a folder took. fresh: it was not there before. bytes_down: fetched. what: it is, in words."""

    what: str
    fresh: bool
    seconds: float
    bytes_down: int
    bytes_on_disk: int
    verified: str


@dataclass(frozen=True)
class _Piece:
    """A folder. asked: what decides its content, beforehand."""

    what: str
    folder: Path
    fill: Callable[[Path], Mapping[str, Any]]

    def prepare(self) -> Took:
        begun = time.monotonic()
        fresh = land(self.folder, self.fill)
        told = self.about or {}
        down = int(told.get("bytes_down", 0)) if fresh else 0
        size = int(told.get("bytes_on_disk", 0))
        return Took(self.what, fresh, time.monotonic() - begun, down, size, str(told.get("verified", "")))

    @property
    def about(self) -> dict[str, Any] | None:
        return about(self.folder)


class Emulation:
    """A device's emulation on this host: whether it is prepared, and how it is made.

    called: how the profile was named, where that is not its name. Raises `DeviceError` for a profile that QEMU cannot
    stand in for.
    """

    def __init__(self, profile: Profile, called: str | None = None) -> None:
        if profile.emulation is None:
            raise DeviceError(f"'{profile.name}' cannot be emulated: QEMU has no CPU that computes as its does")
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
        """Whether it was prepared, if only for some runtimes."""
        return self._said().about is not None

    def prepared(self, runtime: str) -> bool:
        """Whether all that a runtime needs is there."""
        return all(piece.about is not None for piece in self._pieces((runtime,)))

    def prepare(self, runtimes: Collection[str] = (), told: Callable[[Took], None] = lambda _: None) -> list[Took]:
        """Make what is not there; what each part took, which `told` hears when it is done.

        runtimes: those only. Raises `DeviceError` for one that the profile cannot bring, `ToolchainError` where this
        host cannot, and `StoreError` where the disk is full.
        """
        for name in runtimes:
            self._require(name)
        pieces = self._pieces(tuple(runtimes) or self.runtimes)
        if any(piece.about is None for piece in pieces) and (lacks := without_host()) is not None:
            raise ToolchainError(lacks)
        found = []
        for piece in pieces:
            found.append(piece.prepare())
            told(found[-1])
        return found

    def remove(self, runtimes: Collection[str] = (), keep: Collection[Path] = ()) -> list[Path]:
        """Remove the folders, those of the runtimes only where any are named; what was removed. keep: not these."""
        for name in runtimes:
            self._require(name)
        pieces = self._pieces(tuple(runtimes) or self.runtimes)
        mine = [self._wheels(name) for name in runtimes] if runtimes else pieces
        return [piece.folder for piece in mine if piece.folder not in keep and remove(piece.folder)]

    def folders(self) -> set[Path]:
        """All folders that it uses."""
        return {piece.folder for piece in self._pieces(self.runtimes)}

    def guest(self, runtime: str) -> Guest:
        """How a runtime's Python is started; `MissingEnvironment` with the command where it is not prepared."""
        self._require(runtime)
        if not self.prepared(runtime):
            raise MissingEnvironment(
                f"the emulation of '{self.profile.name}' with '{runtime}' is not prepared. Prepare it with: "
                f"{self.remedy}"
            )
        return self._guest(self._wheels(runtime).folder)

    def agent(self) -> Path:
        """The agent's file."""
        return agent_in(self._root)

    def facts(self, runtime: str) -> dict[str, Any]:
        """What of the emulation decides a runtime's answers. `MissingEnvironment` where it is not prepared."""
        self.guest(runtime)
        qemu, userland, guest, wheels = (piece.about or {} for piece in self._pieces((runtime,)))
        return {
            **guest["says"],
            "versions": wheels["versions"],
            "emulator": {"name": "qemu", "version": qemu["version"], "sha256": qemu["programs"][self._machine]},
            "userland": userland["sha256"],
            "wheels": wheels["sha256"],
        }

    def _require(self, runtime: str) -> None:
        if runtime in self._sets:
            return
        if runtime in self.profile.runtimes:
            raise DeviceError(
                f"'{runtime}' on '{self.profile.name}' cannot be emulated: pip cannot bring it. Leave its formats out "
                "of the device's 'formats'"
            )
        known = ", ".join(self.profile.runtimes)
        raise DeviceError(f"the profile '{self.profile.name}' has no runtime '{runtime}'; it has: {known}")

    def _pieces(self, runtimes: tuple[str, ...]) -> list[_Piece]:
        """In the order in which each needs those before it, each once."""
        wheels = {piece.folder: piece for piece in map(self._wheels, runtimes)}
        return [self._qemu(), self._userland(), self._said(), *wheels.values()]

    def _qemu(self) -> _Piece:
        asked = ["qemu-user", _QEMU_SUITE]

        def fill(draft: Path) -> Mapping[str, Any]:
            with tempfile.TemporaryDirectory(dir=draft) as debs:
                got = fetch_debs("x86_64", _QEMU_SUITE, ["qemu-user"], Path(debs), alone=True)
                names = {machine: f"qemu-{machine}" for machine in ("aarch64", "x86_64")}
                unpack(got.debs[0].path, draft, [f"usr/bin/{name}" for name in names.values()])
            programs = {machine: _sha256(draft / "usr" / "bin" / name) for machine, name in names.items()}
            return {**_of_debs(got, draft), "version": got.debs[0].version, "programs": programs}

        return self._piece("qemu", asked, fill, "QEMU")

    def _userland(self) -> _Piece:
        suite, _ = _USERLANDS[self._python]
        packages = (f"python{self._python}", *_LIBRARIES)

        def fill(draft: Path) -> Mapping[str, Any]:
            with tempfile.TemporaryDirectory(dir=draft) as debs:
                got = fetch_debs(self._machine, suite, packages, Path(debs), alone=False)
                for deb in got.debs:
                    unpack(deb.path, draft)
            _tidy(draft)
            return _of_debs(got, draft)

        what = f"userland of Debian {suite} for {self._machine} with Python {self._python}"
        return self._piece(f"userland-{self._machine}-{self._python}", [suite, packages], fill, what)

    def _said(self) -> _Piece:
        asked = [self.cpu, self._qemu().folder.name, self._userland().folder.name]

        def fill(_: Path) -> Mapping[str, Any]:
            says = {**self._guest(None).says(self.agent()), "os": f"userland of Debian {_USERLANDS[self._python][0]}"}
            return {"says": says, "verified": "it was run"}

        return self._piece(f"guest-{self.cpu}", asked, fill, f"guest with the CPU {self.cpu}")

    def _wheels(self, runtime: str) -> _Piece:
        wanted = self._sets[runtime]

        def fill(draft: Path) -> Mapping[str, Any]:
            pinned = wanted.pinned
            wheels = fetch_wheels(wanted, draft)
            self._guest(draft).try_import(_IMPORTS[runtime])  # which also keeps what Python compiled
            return {
                "requirements": list(wanted.requirements),
                "versions": {wheel.name: wheel.version for wheel in wheels},
                "wheels": [asdict(wheel) for wheel in wheels],
                "sha256": _digest([wheel.sha256 for wheel in wheels]),
                "bytes_down": sum(wheel.bytes for wheel in wheels),
                "bytes_on_disk": _size(draft),
                "verified": "SHA-256 of every wheel recorded, and none known beforehand"
                if pinned is None
                else "SHA-256 of every wheel by edgeaudit's own list",
            }

        asked = [wanted.key, wanted.pinned]
        return self._piece(f"wheels-{self._machine}-{self._python}", asked, fill, " ".join(wanted.requirements))

    def _piece(self, name: str, asked: Any, fill: Callable[[Path], Mapping[str, Any]], what: str) -> _Piece:
        return _Piece(what, self._root / f"{name}-{_digest(asked)[:12]}", fill)

    def _guest(self, packages: Path | None) -> Guest:
        program = self._qemu().folder / "usr" / "bin" / f"qemu-{self._machine}"
        root = self._userland().folder
        return Guest(program, root, self.cpu, root / "usr" / "bin" / f"python{self._python}", packages)


def wheel_sets(profile: Profile) -> dict[str, WheelSet]:
    """Runtime -> what its emulation installs, of the runtimes that pip can bring; {} of a profile without emulation."""
    if profile.emulation is None:
        return {}
    python = _debian_python(profile.system.python)
    return {
        name: WheelSet(profile.cpu.machine, python, _USERLANDS[python][1], build.requirements)
        for name, build in profile.runtimes.items()
        if build.requirements
    }


def _debian_python(python: str) -> str:
    """The Python of a Debian that stands for a device's: the same, or the next newer one, or else the newest."""
    minors = sorted(int(known.partition(".")[2]) for known in _USERLANDS)
    wanted = int(python.partition(".")[2])
    return f"3.{next((minor for minor in minors if minor >= wanted), minors[-1])}"


def _of_debs(got: Fetched, draft: Path) -> dict[str, Any]:
    return {
        "packages": [{"name": deb.name, "version": deb.version, "sha256": deb.sha256} for deb in got.debs],
        "sha256": _digest(sorted(deb.sha256 for deb in got.debs)),
        "bytes_down": got.bytes_down,
        "bytes_on_disk": _size(draft),
        "verified": f"SHA-256 of every package by Debian's signed index (keys: {got.keys})",
    }


def _tidy(root: Path) -> None:
    """Make a folder of unpacked packages fit for QEMU's -L, which looks there first and on the host otherwise."""
    for name in ("lib", "lib64"):  # newer Debians ship them inside of usr only
        if not (root / name).exists() and (root / "usr" / name).is_dir():
            (root / name).symlink_to(f"usr/{name}")
    for path in root.rglob("*"):  # a link to /lib would lead to the host's
        if path.is_symlink() and path.readlink().is_absolute():
            inside = root / path.readlink().relative_to("/")
            path.unlink()
            path.symlink_to(os.path.relpath(inside, path.parent))
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc" / "ld.so.cache").touch()  # the host's would lead an x86-64 guest to the host's libraries
    for name in ("doc", "man", "locale"):
        shutil.rmtree(root / "usr" / "share" / name, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
