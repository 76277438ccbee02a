"""Download packages of Debian's archive into a folder, without installing them and without root.

apt runs with a separate state directory. It verifies the archive's signature (InRelease, with the keys of the package
debian-archive-keyring) and thereby the hashes of the indexes and of every package. Options that could weaken the
verification are overridden here. The mirror comes from the host's apt configuration or from `EDGEAUDIT_DEBIAN`.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeaudit.digests import file_sha256
from edgeaudit.errors import ToolchainError, store_errors

__all__ = ["ARCHITECTURES", "Deb", "Fetched", "fetch_debs", "host_lacks", "unpack"]

ARCHITECTURES = {"aarch64": "arm64", "x86_64": "amd64"}
"""Debian's architecture names."""

_MIRROR = "EDGEAUDIT_DEBIAN"
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_SUITES = {"bullseye", "bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable"}
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_STRICT = (
    "Acquire::AllowInsecureRepositories=false",
    "Acquire::AllowWeakRepositories=false",
    "Acquire::AllowDowngradeToInsecureRepositories=false",
    "APT::Get::AllowUnauthenticated=false",
    "APT::Update::Error-Mode=any",  # otherwise a missing index is only a warning
    "Acquire::Languages=none",
    "APT::Install-Recommends=false",
    "APT::Sandbox::User=",  # as root, apt would switch to a user without read access
)
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Deb:
    """A package file whose SHA-256 matches the signed index."""

    name: str
    version: str
    sha256: str
    path: Path


@dataclass(frozen=True)
class Fetched:
    """Downloaded packages.

    bytes_down: of indexes and packages, as reported by apt. keys: the keyring for the signatures.
    """

    debs: tuple[Deb, ...]
    bytes_down: int
    keys: str


def host_lacks() -> str | None:
    """What this host lacks for emulation, with the remedy; None if nothing."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return (
            f"emulation requires x86-64 Linux, but this is {platform.system()} on {platform.machine()}. Run "
            "edgeaudit on such a machine, or reach a device over ssh"
        )
    if missing := [name for name in ("apt-get", "apt-cache", "dpkg-deb") if shutil.which(name) is None]:
        return (
            f"{missing[0]} is not installed, which downloads QEMU and the device's Python. It is part of Debian, "
            "Ubuntu and their derivatives; elsewhere run edgeaudit in a Debian container"
        )
    if not _KEYS.is_file():
        return f"{_KEYS} is missing, which verifies downloads. Install it with: apt-get install debian-archive-keyring"
    return None


def fetch_debs(machine: str, suite: str, packages: Sequence[str], folder: Path, *, with_dependencies: bool) -> Fetched:
    """Download packages of a suite into a new folder.

    Raises `ToolchainError` with the reason and the remedy if the host lacks something, no mirror is reachable or has
    the packages, or a signature is invalid.
    """
    if (lacks := host_lacks()) is not None:
        raise ToolchainError(lacks)
    failures: list[str] = []
    for mirror in _mirrors():
        with tempfile.TemporaryDirectory(prefix="edgeaudit-apt-") as state:
            apt = _Apt(Path(state), ARCHITECTURES[machine], mirror, suite)
            try:
                down = apt.update()
            except ToolchainError as exc:
                failures.append(f"{mirror}: {exc}")
                continue
            down += apt.download(packages, with_dependencies=with_dependencies)
            with store_errors(f"the folder {folder}"):
                return Fetched(tuple(apt.verified(folder)), down, str(_KEYS))
    raise ToolchainError(
        f"Debian's {suite} cannot be downloaded: {'; '.join(failures)}. Check the network; unknown keys "
        f"require a newer package debian-archive-keyring; {_MIRROR}=URL selects another mirror"
    )


def unpack(deb: Path, into: Path, only: Iterable[str] = ()) -> None:
    """Unpack a package's files. only: restrict to these, as in usr/bin/qemu-aarch64."""
    with store_errors(f"the folder {into}"):
        into.mkdir(parents=True, exist_ok=True)
        if not only:
            _run(["dpkg-deb", "-x", str(deb), str(into)], f"unpacking {deb.name}")
            return
        with tempfile.TemporaryFile() as tar:
            _run(["dpkg-deb", "--fsys-tarfile", str(deb)], f"unpacking {deb.name}", to=tar)
            tar.seek(0)
            command = ["tar", "-x", "--no-same-owner", "-C", str(into), *(f"./{name}" for name in only)]
            _run(command, f"unpacking {deb.name}", stdin=tar)


class _Apt:
    """apt with its state in a temporary folder."""

    def __init__(self, state: Path, architecture: str, mirror: str, suite: str) -> None:
        self._archives = state / "archives"
        (state / "lists" / "partial").mkdir(parents=True)
        (self._archives / "partial").mkdir(parents=True)
        (state / "status").touch()
        (state / "sources.list").write_text(f"deb [signed-by={_KEYS}] {mirror} {suite} main\n")
        settings = (
            f"Dir::State={state}", f"Dir::State::lists={state}/lists", f"Dir::State::status={state}/status",
            f"Dir::Cache={state}", f"Dir::Cache::archives={self._archives}",
            f"Dir::Etc::sourcelist={state}/sources.list", "Dir::Etc::sourceparts=/dev/null",
            "Dir::Etc::preferences=/dev/null", "Dir::Etc::preferencesparts=/dev/null",
            f"APT::Architecture={architecture}", f"APT::Architectures={architecture}", *_STRICT,
        )  # fmt: skip
        self._options = [part for setting in settings for part in ("-o", setting)]

    def update(self) -> int:
        """Download and verify the indexes; returns bytes."""
        return _bytes_fetched(_run(["apt-get", *self._options, "update"], "apt-get update"))

    def download(self, packages: Sequence[str], *, with_dependencies: bool) -> int:
        """Download and verify packages; returns bytes."""
        if not with_dependencies:
            command = ["apt-get", *self._options, "download", *packages]
            return _bytes_fetched(_run(command, f"fetching {', '.join(packages)}", folder=self._archives))
        command = ["apt-get", *self._options, "install", "--yes", "--download-only", *packages]
        return _bytes_fetched(_run(command, f"fetching {', '.join(packages)}"))

    def verified(self, folder: Path) -> list[Deb]:
        """Move the packages to the folder; `ToolchainError` if one does not match the index."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = sorted(self._archives.glob("*.deb"))
        if not paths:  # apt does not copy packages from a file: mirror
            raise ToolchainError(
                f"apt downloaded nothing. For a mirror on this machine, set {_MIRROR} to copy:/its/folder"
            )
        names = [_run(["dpkg-deb", "-W", str(path)], f"reading {path.name}").rstrip("\n").split("\t") for path in paths]
        queries = [f"{name}={version}" for name, version in names]
        records = _run(["apt-cache", *self._options, "show", *queries], "looking up SHA-256s")
        stanzas = [dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", part, re.MULTILINE)) for part in records.split("\n\n")]
        sums = {(about.get("Package"), about.get("Version")): about.get("SHA256") for about in stanzas}
        debs = []
        for path, (name, version) in zip(paths, names, strict=True):
            digest = file_sha256(path)
            if sums.get((name, version)) != digest:
                raise ToolchainError(f"{path.name} does not match Debian's signed index: its SHA-256 is {digest}")
            shutil.move(path, folder / path.name)
            debs.append(Deb(name, version, digest, folder / path.name))
        return debs


def _mirrors() -> list[str]:
    """Mirrors of Debian's archive from `EDGEAUDIT_DEBIAN` or the host's apt sources; there is no built-in default."""
    if named := os.environ.get(_MIRROR):
        return [named]
    form = "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)"
    targets = _run(
        ["apt-get", "indextargets", "--no-release-info", "--format", form, "Created-By: Packages"],
        "reading the host's apt sources",
    )
    rows = [line.split("\t") for line in targets.splitlines() if line.count("\t") == 2]
    mirrors = dict.fromkeys(uri for uri, release, component in rows if release in _SUITES and component == "main")
    if not mirrors:
        raise ToolchainError(
            f"the host's apt sources contain no mirror of Debian's archive. Set {_MIRROR} to the URL of one"
        )
    return sorted(mirrors, key=lambda uri: not uri.rstrip("/").endswith("/debian"))


def _bytes_fetched(output: str) -> int:
    """Bytes from apt's line `Fetched 12.5 MB in 1s`."""
    match = re.search(r"^Fetched ([\d.,]+) ([kMG]?)B ", output, re.MULTILINE)
    return 0 if match is None else int(float(match[1].replace(",", "")) * _UNITS[match[2]])


def _run(
    command: list[str],
    what: str,
    *,
    folder: Path | None = None,
    stdin: object = subprocess.DEVNULL,
    to: object = subprocess.PIPE,
) -> str:
    """Run a command; returns its standard output. `ToolchainError` with its error messages."""
    try:
        done = subprocess.run(  # type: ignore[call-overload]  # noqa: S603  ours
            command, cwd=folder, stdin=stdin, stdout=to, stderr=subprocess.PIPE, check=False,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        )  # fmt: skip
    except OSError as exc:
        raise ToolchainError(f"{what} failed: {exc.strerror or exc}") from exc
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no output"]
        errors = [line for line in lines if line.startswith(("E:", "W: GPG"))] or lines[-1:]
        raise ToolchainError(f"{what} failed: {' '.join(errors)}")
    return (done.stdout or b"").decode(errors="replace")
