"""Packages of Debian's archive: what a host must have, and that nothing unsigned or changed is taken.

The archive of these tests is made here, by dpkg-deb and gpg, and reached by apt's copy:.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import psutil
import pytest

from edgeaudit.devices.qemu import debian
from edgeaudit.devices.qemu.debian import fetch_debs, host_lacks, unpack
from edgeaudit.errors import ToolchainError

needs_apt = pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("apt-get", "dpkg-deb", "gpg")), reason="needs apt-get, dpkg-deb and gpg"
)


class Archive:
    """A mirror with one suite and one package, signed with a key of its own.

    A context: gpg starts an agent that outlives it and the folder, so the agent is ended on leaving.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.keys = folder / "mirror", folder / "gnupg", folder / "keys.gpg"
        self.home.mkdir(mode=0o700)
        self._gpg("--quick-generate-key", "--passphrase", "", "test@localhost", "default", "default", "never")
        self.keys.write_bytes(self._gpg("--export"))
        self.deb = self.folder / "pool" / "hello_1.0_amd64.deb"
        self._package(folder / "package")
        self.index()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "gpg-agent"], check=True, capture_output=True)

    @property
    def url(self) -> str:
        return f"copy:{self.folder}"

    def index(self, *, signed: bool = True) -> None:
        """Write the indexes anew."""
        suite = self.folder / "dists" / "bookworm"
        (suite / "main" / "binary-amd64").mkdir(parents=True, exist_ok=True)
        packages = (
            f"Package: hello\nVersion: 1.0\nArchitecture: amd64\nMaintainer: a test\nDescription: a test's\n"
            f"Filename: pool/{self.deb.name}\nSize: {self.deb.stat().st_size}\nSHA256: {_sha256(self.deb)}\n"
        ).encode()
        listed = {"main/binary-amd64/Packages": packages, "main/binary-amd64/Packages.gz": gzip.compress(packages)}
        sums = ""
        for name, content in listed.items():
            (suite / name).write_bytes(content)
            sums += f" {hashlib.sha256(content).hexdigest()} {len(content)} {name}\n"
        release = suite / "Release"
        release.write_text(
            "Origin: a test\nSuite: bookworm\nCodename: bookworm\nDate: Tue, 01 Sep 2026 00:00:00 UTC\n"
            f"Architectures: amd64\nComponents: main\nSHA256:\n{sums}"
        )
        (suite / "InRelease").unlink(missing_ok=True)
        if signed:
            self._gpg("--clearsign", "--output", str(suite / "InRelease"), str(release))

    def _package(self, folder: Path) -> None:
        (folder / "DEBIAN").mkdir(parents=True)
        (folder / "DEBIAN" / "control").write_text(
            "Package: hello\nVersion: 1.0\nArchitecture: amd64\nMaintainer: a test\nDescription: a test's\n"
        )
        for name in ("hello", "other"):
            (path := folder / "usr" / "bin" / name).parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/bin/sh\necho {name}\n")
        self.deb.parent.mkdir(parents=True)
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-b", str(folder), str(self.deb)], check=True, capture_output=True
        )

    def _gpg(self, *arguments: str) -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--yes", "--pinentry-mode", "loopback", *arguments]
        return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with Archive(tmp_path_factory.mktemp("archive")) as archive:
        yield archive


@pytest.fixture
def archive(made: Archive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Archive:
    made.index()
    monkeypatch.setenv("EDGEAUDIT_DEBIAN", made.url)
    monkeypatch.setattr(debian, "_KEYS", made.keys)
    return made


@needs_apt
def test_no_gpg_agent_is_left(tmp_path: Path) -> None:
    def agents() -> list[int]:
        processes = psutil.process_iter(["pid", "cmdline"])
        return [one.pid for one in processes if str(tmp_path) in " ".join(one.info["cmdline"] or ())]

    with Archive(tmp_path):
        assert agents()
    end = time.monotonic() + 10
    while agents() and time.monotonic() < end:
        time.sleep(0.05)
    assert not agents()


@needs_apt
@pytest.mark.parametrize("with_dependencies", [True, False])
def test_a_package_is_downloaded_with_its_hash(archive: Archive, tmp_path: Path, with_dependencies: bool) -> None:
    got = fetch_debs("x86_64", "bookworm", ["hello"], tmp_path / "debs", with_dependencies=with_dependencies)
    (deb,) = got.debs
    assert (deb.name, deb.version, deb.sha256) == ("hello", "1.0", _sha256(archive.deb))
    assert deb.path.read_bytes() == archive.deb.read_bytes()
    unpack(deb.path, tmp_path / "all")
    assert (tmp_path / "all" / "usr" / "bin" / "other").read_text() == "#!/bin/sh\necho other\n"
    unpack(deb.path, tmp_path / "one", ["usr/bin/hello"])
    assert [path.name for path in (tmp_path / "one").rglob("*") if path.is_file()] == ["hello"]


@needs_apt
def test_an_archive_that_is_not_signed_is_refused(archive: Archive, tmp_path: Path) -> None:
    archive.index(signed=False)
    with pytest.raises(ToolchainError, match=r"Debian's bookworm cannot be downloaded: .*(not signed|Release file)"):
        fetch_debs("x86_64", "bookworm", ["hello"], tmp_path / "debs", with_dependencies=False)


@needs_apt
def test_another_key_is_refused(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (other := tmp_path / "other").mkdir()
    with Archive(other) as signed_by_another:
        monkeypatch.setattr(debian, "_KEYS", signed_by_another.keys)
    with pytest.raises(ToolchainError, match=r"NO_PUBKEY.*newer package debian-archive-keyring"):
        fetch_debs("x86_64", "bookworm", ["hello"], tmp_path / "debs", with_dependencies=False)


@needs_apt
def test_a_host_that_allows_it_does_not_weaken_this(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.index(signed=False)
    (settings := tmp_path / "apt.conf").write_text(
        'Acquire::AllowInsecureRepositories "true"; APT::Get::AllowUnauthenticated "true";'
    )
    monkeypatch.setenv("APT_CONFIG", str(settings))
    with pytest.raises(ToolchainError, match="Debian's bookworm cannot be downloaded"):
        fetch_debs("x86_64", "bookworm", ["hello"], tmp_path / "debs", with_dependencies=False)


@needs_apt
def test_a_changed_index_or_package_is_refused(archive: Archive, tmp_path: Path) -> None:
    index = archive.folder / "dists" / "bookworm" / "main" / "binary-amd64"
    for name in ("Packages", "Packages.gz"):
        whole = (index / name).read_bytes()
        (index / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ToolchainError, match="Debian's bookworm cannot be downloaded"):
        fetch_debs("x86_64", "bookworm", ["hello"], tmp_path / "one", with_dependencies=False)
    archive.index()
    whole = archive.deb.read_bytes()
    archive.deb.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        with pytest.raises(ToolchainError, match=r"hello"):
            fetch_debs("x86_64", "bookworm", ["hello"], tmp_path / "two", with_dependencies=False)
    finally:
        archive.deb.write_bytes(whole)


@needs_apt
def test_a_missing_package(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match="Unable to locate package goodbye"):
        fetch_debs("x86_64", "bookworm", ["goodbye"], tmp_path / "debs", with_dependencies=False)


@needs_apt
def test_a_missing_mirror(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAUDIT_DEBIAN", f"file:{tmp_path}/nowhere")
    with pytest.raises(ToolchainError, match=r"cannot be downloaded.*EDGEAUDIT_DEBIAN=URL selects another mirror"):
        fetch_debs("x86_64", "bookworm", ["hello"], tmp_path / "debs", with_dependencies=False)


def test_missing_tools_of_a_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert "is Linux on riscv64" in str(host_lacks())
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert str(host_lacks()).startswith("apt-get is not installed")
    for name in ("apt-get", "apt-cache", "dpkg-deb"):
        (tmp_path / name).symlink_to("/bin/true")
    monkeypatch.setattr(debian, "_KEYS", tmp_path / "none.gpg")
    assert "apt-get install debian-archive-keyring" in str(host_lacks())
    monkeypatch.setattr(debian, "_KEYS", tmp_path / "apt-get")
    assert host_lacks() is None


@pytest.mark.parametrize(
    ("told", "mirrors"),
    [
        ("http://a/ubuntu/\tnoble\tmain\n", None),
        (
            "http://b/other/\tbookworm\tstable\nhttp://b/x\tbookworm\tmain\nhttp://c/debian/\tbookworm\tmain\n",
            ["http://c/debian/", "http://b/x"],
        ),
    ],
)
def test_mirrors_come_from_the_host(
    told: str, mirrors: list[str] | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`apt-get indextargets` is what tells them."""
    (tmp_path / "answer").write_text(told)
    (program := tmp_path / "apt-get").write_text(f"#!/bin/sh\ncat {tmp_path}/answer\n")
    program.chmod(0o755)
    monkeypatch.delenv("EDGEAUDIT_DEBIAN", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    if mirrors is None:
        with pytest.raises(ToolchainError, match="Set EDGEAUDIT_DEBIAN to the URL of one"):
            debian._mirrors()
    else:
        assert debian._mirrors() == mirrors


@pytest.mark.parametrize(
    ("told", "size"),
    [
        ("Get:1 ...\nFetched 12.5 MB in 1s (23.8 MB/s)\n", 12_500_000),
        ("Fetched 8841 kB in 1s (6265 kB/s)", 8_841_000),
        ("Fetched 512 B in 0s (2 B/s)", 512),
        ("Reading package lists...", 0),
    ],
)
def test_fetched_packages(told: str, size: int) -> None:
    assert debian._bytes_fetched(told) == size


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
