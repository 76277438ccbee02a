"""A host of its own for tests of ssh: a network namespace with an sshd, its own processes, users, home and TMPDIR.

Needs root and a system that lets namespaces be made. Whatever is missing of OpenSSH and iproute2 is downloaded with apt
and unpacked beside; nothing is installed. The addresses are of 10.64.0.0/10, on a pair of interfaces of its own.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil
import pytest

from edgeaudit.devices.profiles import find_profile
from edgeaudit.devices.qemu.prepare import Emulation
from edgeaudit.errors import ToolchainError

USER = "board"
PACKAGES = ("openssh-server", "openssh-client", "iproute2")
PROGRAMS = ("sshd", "ssh", "ssh-keygen", "ip")
WAIT_SECONDS = 20.0


def host_python() -> str:
    """A `python3` for the far side: this one, without the sources that are on the path here."""
    return f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I "$@"\n'


@dataclass(frozen=True)
class Programs:
    """Paths of what is needed, and variables with which they run."""

    paths: dict[str, str]
    environment: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.paths[name]


def find_programs(folder: Path) -> Programs:
    """The system's, or unpacked into `folder`. Skips the test where they cannot be used."""
    if os.geteuid() != 0:
        pytest.skip("a network namespace needs root")
    found = _installed()
    if found is not None:
        return Programs(found, {})
    if shutil.which("apt-get") is None:
        pytest.skip("there is no sshd, and no apt to download one")
    archives, root = folder / "archives", folder / "root"
    (archives / "partial").mkdir(parents=True)
    command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "--download-only"]
    command += ["-o", f"Dir::Cache::archives={archives}", "-o", "APT::Sandbox::User=root", *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:  # a clean image has no lists of packages
        subprocess.run(["apt-get", "update", "-qq"], capture_output=True, check=False)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"there is no sshd, and apt cannot download one: {done.stderr.strip()[-200:]}")
    for archive in archives.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(archive), str(root)], check=True)
    libraries = sorted({str(path.parent) for path in root.rglob("lib*.so*")})
    paths = _installed(root)
    assert paths is not None, sorted(archives.iterdir())
    return Programs(paths, {"LD_LIBRARY_PATH": ":".join(libraries)})


def _installed(root: Path | None = None) -> dict[str, str] | None:
    first = [] if root is None else [str(root / place) for place in ("usr/sbin", "usr/bin", "sbin", "bin")]
    search = os.pathsep.join([*first, os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    found = {name: shutil.which(name, path=search) for name in PROGRAMS}
    return {name: path for name, path in found.items() if path} if all(found.values()) else None


class FarHost:
    """Made, then `start`ed; `close` takes everything away, also after a failure half way.

    python: text of the script that is `python3` there; None for a host without.
    """

    def __init__(self, folder: Path, programs: Programs, number: int, python: str | None) -> None:
        self.folder = folder
        self.programs = programs
        self.name = f"ea{os.getpid() % 100_000}x{number}"
        block = secrets.randbelow(1 << 20) * 4  # of four addresses, as a pair needs
        base = (10 << 24) + (64 << 16) + block
        self.near, self.far = (_dotted(base + offset) for offset in (1, 2))
        self.home, self.tmp, self.bin = (self._made(name) for name in ("home", "tmp", "bin"))
        self._process: subprocess.Popen[bytes] | None = None
        if python is not None:
            (self.bin / "python3").write_text(python)
            (self.bin / "python3").chmod(0o755)

    @property
    def address(self) -> str:
        return f"ssh://{USER}@{self.far}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def command(self, *more: str) -> str:
        """What EDGEAUDIT_SSH is set to; a dead link is noticed in two or three seconds instead of fifteen."""
        options = (*more, "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=2", "-o", "ConnectTimeout=5")
        return shlex.join([self.programs["ssh"], "-F", str(self.folder / "ssh_config"), *options])

    def start(self) -> None:
        self._write_keys()
        self._write_configuration()
        self._make_network()
        self.boot()

    def boot(self) -> None:
        """Start sshd, as the first process of the host."""
        paths = {name: shlex.quote(str(self.folder / name)) for name in ("passwd", "shadow", "sshd_config", "log")}
        script = (
            f"mount --bind {paths['passwd']} /etc/passwd && mount --bind {paths['shadow']} /etc/shadow && "
            "mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && "
            f"exec {shlex.quote(self.programs['sshd'])} -D -e -f {paths['sshd_config']} 2>>{paths['log']}"
        )
        command = [self.programs["ip"], "netns", "exec", self.name, "unshare", "--mount", "--pid", "--fork"]
        command += ["--kill-child", "--mount-proc", "sh", "-c", script]
        self._process = subprocess.Popen(
            command, env={**os.environ, **self.programs.environment}, start_new_session=True, stderr=subprocess.PIPE
        )
        ends = time.monotonic() + WAIT_SECONDS
        while not self._listens():
            if self._process.poll() is not None:
                said = self._process.stderr.read().decode() if self._process.stderr else ""
                pytest.skip(f"a host of its own cannot be made here: {said or self.log}")
            assert time.monotonic() < ends, self.log
            time.sleep(0.05)

    def halt(self) -> None:
        """Kill the first process, and with it all others. What is in the folders stays, as on a disk."""
        if self._process is None:
            return
        for child in psutil.Process(self._process.pid).children() if self._process.poll() is None else ():
            child.kill()
        if self._process.poll() is None:
            self._process.wait(WAIT_SECONDS)
        if self._process.stderr:
            self._process.stderr.close()
        self._process = None

    def processes(self, text: str = "") -> list[psutil.Process]:
        """Those that run there and have the text in their command line."""
        if self._process is None:
            return []
        found = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            try:
                if text in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def set_link(self, up: bool) -> None:
        self._ip("link", "set", f"{self.name}a", "up" if up else "down")

    def left(self) -> list[str]:
        """What there is in TMPDIR and in the home folder."""
        return sorted(
            str(path.relative_to(self.folder)) for place in (self.tmp, self.home) for path in place.rglob("*")
        )

    def close(self) -> None:
        self.halt()
        for command in (["netns", "del", self.name], ["link", "del", f"{self.name}a"]):
            subprocess.run([self.programs["ip"], *command], capture_output=True, check=False, env=self._environment)

    def make_key(self, name: str) -> Path:
        path = self.folder / name
        command = [self.programs["ssh-keygen"], "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
        subprocess.run(command, check=True, env=self._environment)
        return path

    @cached_property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.programs.environment}

    def _made(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(parents=True)
        return path

    def _ip(self, *words: str) -> None:
        done = subprocess.run(
            [self.programs["ip"], *words], capture_output=True, text=True, check=False, env=self._environment
        )
        if done.returncode:
            raise OSError(done.stderr.strip())

    def _write_keys(self) -> None:
        self.make_key("host_key")
        self.make_key("user_key")
        shutil.copy(self.folder / "user_key.pub", self.folder / "authorized_keys")
        public = (self.folder / "host_key.pub").read_text().split()
        (self.folder / "known_hosts").write_text(f"{self.far} {public[0]} {public[1]}\n")

    def _write_configuration(self) -> None:
        folder = self.folder
        here = Path("/etc/passwd").read_text()
        users = [f"{USER}:x:0:0::{self.home}:/bin/sh"]
        users += [] if "\nsshd:" in here else ["sshd:x:74:65534::/run/sshd:/usr/sbin/nologin"]
        (folder / "passwd").write_text(here.rstrip("\n") + "\n" + "\n".join(users) + "\n")
        (folder / "shadow").write_text(f"{USER}:*:19000:0:99999:7:::\nsshd:!:19000::::::\n")
        (folder / "sshd_config").write_text(
            f"ListenAddress {self.far}\nHostKey {folder}/host_key\nPidFile none\nUsePAM no\nStrictModes no\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nPrintMotd no\n"
            f"SetEnv PATH={self.bin}:/usr/bin:/bin TMPDIR={self.tmp} HOME={self.home}\n"
        )
        (folder / "ssh_config").write_text(
            f"IdentityFile {folder}/user_key\nIdentitiesOnly yes\nIdentityAgent none\nStrictHostKeyChecking yes\n"
            f"UserKnownHostsFile {folder}/known_hosts\nGlobalKnownHostsFile /dev/null\n"
        )
        (folder / "log").touch()

    def _make_network(self) -> None:
        near, far = f"{self.name}a", f"{self.name}b"
        try:
            self._ip("netns", "add", self.name)
            self._ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", self.name)
        except OSError as exc:
            pytest.skip(f"network namespaces are not allowed here: {exc}")
        self._ip("addr", "add", f"{self.near}/30", "dev", near)
        self._ip("link", "set", near, "up")
        self._ip("-n", self.name, "addr", "add", f"{self.far}/30", "dev", far)
        for name in (far, "lo"):
            self._ip("-n", self.name, "link", "set", name, "up")

    def _listens(self) -> bool:
        return "Server listening" in self.log.rpartition("terminating")[2] and self._answers()

    def _answers(self) -> bool:
        import socket

        try:
            with socket.create_connection((self.far, 22), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False


def _dotted(address: int) -> str:
    return ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0))


def end_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        process.kill()


def emulated_python(profile: str, runtime: str) -> str:
    """A `python3` for the far side that is the device's, under QEMU; skips where this host cannot prepare it."""
    emulation = Emulation(find_profile(profile))
    try:
        emulation.prepare((runtime,))
    except ToolchainError as exc:
        pytest.skip(f"no emulation of {profile}: {exc}")
    guest = emulation.guest(runtime)
    packages = "" if guest.packages is None else str(guest.packages)
    command = [guest.program, "-L", guest.root, "-cpu", guest.cpu, "-E", f"PYTHONPATH={packages}", guest.python, "-S"]
    return f'#!/bin/sh\nexec {shlex.join(map(str, command))} "$@"\n'
