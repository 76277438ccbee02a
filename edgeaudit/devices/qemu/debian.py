"""Packages of Debian's archive in a folder, without installing them and without root.

apt does it, with a state of its own: it checks the archive's signature (InRelease, by the keys of the package
debian-archive-keyring) and by that the hashes of the indexes and of every package. The options that could weaken this
are set here, over the host's. Which mirror is asked, the host's own configuration says, or `EDGEAUDIT_DEBIAN`.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeaudit.errors import ToolchainError, store_errors

__all__ = ["ARCHITECTURES", "Deb", "Fetched", "fetch_debs", "unpack", "without_host"]

ARCHITECTURES = {"aarch64": "arm64", "x86_64": "amd64"}
"""Debian's names of machines."""

_MIRROR = "EDGEAUDIT_DEBIAN"
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_SUITES = {"bullseye", "bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable"}
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_STRICT = (
    "Acquire::AllowInsecureRepositories=false",
    "Acquire::AllowWeakRepositories=false",
    "Acquire::AllowDowngradeToInsecureRepositories=false",
    "APT::Get::AllowUnauthenticated=false",
    "APT::Update::Error-Mode=any",  # otherwise an index that cannot be had is a warning
    "Acquire::Languages=none",
    "APT::Install-Recommends=false",
    "APT::Sandbox::User=",  # as root, apt would become a user who cannot read here
)
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Deb:
    """A package's file, whose SHA-256 is the one that the signed index has."""

    name: str
    version: str
    sha256: str
    path: Path


@dataclass(frozen=True)
class Fetched:
    """What was fetched.

    bytes_down: indexes and packages, as apt tells. keys: the keyring that signatures were checked with.
    """

    debs: tuple[Deb, ...]
    bytes_down: int
    keys: str


def without_host() -> str | None:
    """What this host lacks, with the remedy; None where it has all."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return (
            f"emulation is offered on x86-64 Linux, and this is {platform.system()} on {platform.machine()}. Run "
            "edgeaudit on such a machine, or reach a device over ssh"
        )
    if missing := [name for name in ("apt-get", "apt-cache", "dpkg-deb") if shutil.which(name) is None]:
        return (
            f"{missing[0]} is not installed, by which QEMU and the device's Python are fetched. It comes with Debian, "
            "Ubuntu and their kin; elsewhere run edgeaudit in a Debian container"
        )
    if not _KEYS.is_file():
        return (
            f"{_KEYS} is not there, by which what is fetched is verified. Install it with: apt-get install "
            "debian-archive-keyring"
        )
    return None


def fetch_debs(machine: str, suite: str, packages: Sequence[str], folder: Path, *, alone: bool) -> Fetched:
    """Fetch packages of a suite into the folder, which is made.

    alone: without what they depend on. Raises `ToolchainError` with the reason and the
    remedy where the host lacks something, no mirror can be reached or has them, or a signature is wrong.
    """
    if (lacks := without_host()) is not None:
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
            down += apt.download(packages, alone=alone)
            with store_errors(f"the folder {folder}"):
                return Fetched(tuple(apt.verified(folder)), down, str(_KEYS))
    raise ToolchainError(
        f"Debian's {suite} cannot be had: {'; '.join(failures)}. Check the network; keys that are not "
        f"known come with a newer package debian-archive-keyring; {_MIRROR}=URL names another mirror"
    )


def unpack(deb: Path, into: Path, only: Iterable[str] = ()) -> None:
    """Unpack a package's files. only: these and no others, as in usr/bin/qemu-aarch64."""
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
    """apt with a state of its own, in a folder that nobody keeps."""

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
        """Fetch and check the indexes; bytes."""
        return _bytes_fetched(_run(["apt-get", *self._options, "update"], "apt-get update"))

    def download(self, packages: Sequence[str], *, alone: bool) -> int:
        """Fetch and check packages; bytes."""
        if alone:
            command = ["apt-get", *self._options, "download", *packages]
            return _bytes_fetched(_run(command, f"fetching {', '.join(packages)}", folder=self._archives))
        command = ["apt-get", *self._options, "install", "--yes", "--download-only", *packages]
        return _bytes_fetched(_run(command, f"fetching {', '.join(packages)}"))

    def verified(self, folder: Path) -> list[Deb]:
        """The packages, moved to the folder; `ToolchainError` for one that is not what the index says."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = sorted(self._archives.glob("*.deb"))
        if not paths:  # apt reads packages of such a mirror where they are
            raise ToolchainError(
                f"apt fetched nothing. A mirror on this machine is named copy:/its/folder in {_MIRROR}"
            )
        names = [_run(["dpkg-deb", "-W", str(path)], f"reading {path.name}").rstrip("\n").split("\t") for path in paths]
        asked = [f"{name}={version}" for name, version in names]
        told = _run(["apt-cache", *self._options, "show", *asked], "looking up SHA-256s")
        stanzas = [dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", part, re.MULTILINE)) for part in told.split("\n\n")]
        sums = {(about.get("Package"), about.get("Version")): about.get("SHA256") for about in stanzas}
        found = []
        for path, (name, version) in zip(paths, names, strict=True):
            got = _sha256(path)
            if sums.get((name, version)) != got:
                raise ToolchainError(
                    f"{path.name} is not the file that Debian's signed index has: its SHA-256 is {got}"
                )
            shutil.move(path, folder / path.name)
            found.append(Deb(name, version, got, folder / path.name))
        return found


def _mirrors() -> list[str]:
    """Where Debian's archive is, by `EDGEAUDIT_DEBIAN` or by the host's own sources; never by a name of ours."""
    if named := os.environ.get(_MIRROR):
        return [named]
    form = "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)"
    told = _run(
        ["apt-get", "indextargets", "--no-release-info", "--format", form, "Created-By: Packages"],
        "reading the host's apt sources",
    )
    rows = [line.split("\t") for line in told.splitlines() if line.count("\t") == 2]
    found = dict.fromkeys(uri for uri, release, component in rows if release in _SUITES and component == "main")
    if not found:
        raise ToolchainError(
            f"the host's apt sources name no mirror of Debian's archive. Set {_MIRROR} to the URL of one"
        )
    return sorted(found, key=lambda uri: not uri.rstrip("/").endswith("/debian"))


def _bytes_fetched(told: str) -> int:
    """Of the line `Fetched 12.5 MB in 1s`."""
    found = re.search(r"^Fetched ([\d.,]+) ([kMG]?)B ", told, re.MULTILINE)
    return 0 if found is None else int(float(found[1].replace(",", "")) * _UNITS[found[2]])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _run(
    command: list[str],
    what: str,
    *,
    folder: Path | None = None,
    stdin: object = subprocess.DEVNULL,
    to: object = subprocess.PIPE,
) -> str:
    """Standard output; `ToolchainError` with what it complained of."""
    try:
        done = subprocess.run(  # type: ignore[call-overload]  # noqa: S603  ours
            command, cwd=folder, stdin=stdin, stdout=to, stderr=subprocess.PIPE, check=False,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        )  # fmt: skip
    except OSError as exc:
        raise ToolchainError(f"{what} failed: {exc.strerror or exc}") from exc
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        errors = [line for line in lines if line.startswith(("E:", "W: GPG"))] or lines[-1:]
        raise ToolchainError(f"{what} failed: {' '.join(errors)}")
    return (done.stdout or b"").decode(errors="replace")
