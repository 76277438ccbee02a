"""Wheels for another machine: pip's own check of hashes, on wheels made here."""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeaudit.devices.profiles import find_profile, profile_names
from edgeaudit.devices.qemu import wheels
from edgeaudit.devices.qemu.pin_wheels import pin_wheels
from edgeaudit.devices.qemu.prepare import wheel_sets
from edgeaudit.devices.qemu.wheels import WheelSet, fetch_wheels, known_hashes
from edgeaudit.errors import ToolchainError

TINY = WheelSet("aarch64", "3.11", "2.36", ("edgeaudit-tiny==1.0",))


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel for aarch64 that pip finds in a folder, and no index."""
    (shelf := tmp_path / "shelf").mkdir()
    path = shelf / "edgeaudit_tiny-1.0-cp311-cp311-manylinux_2_28_aarch64.whl"
    about = "edgeaudit_tiny-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("edgeaudit_tiny.py", "ANSWER = 42\n")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: edgeaudit-tiny\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: cp311-cp311-manylinux_2_28_aarch64\n")
        wheel.writestr(f"{about}/RECORD", "")
    for name, value in (("PIP_CONFIG_FILE", "/dev/null"), ("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(shelf))):
        monkeypatch.setenv(name, value)
    return path


def pin(monkeypatch: pytest.MonkeyPatch, digest: str) -> None:
    monkeypatch.setattr(wheels, "known_hashes", lambda: {TINY.key: {"edgeaudit-tiny==1.0": digest}})


def test_committed_hashes_are_checked(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(tiny.read_bytes()).hexdigest()
    pin(monkeypatch, digest)
    (got,) = fetch_wheels(TINY, tmp_path / "packages")
    assert (got.name, got.version, got.file, got.sha256) == ("edgeaudit-tiny", "1.0", tiny.name, digest)
    assert (tmp_path / "packages" / "edgeaudit_tiny.py").read_text() == "ANSWER = 42\n"


def test_another_hash_is_refused(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(monkeypatch, "0" * 64)
    with pytest.raises(ToolchainError, match=r"fetching edgeaudit-tiny==1\.0 for aarch64.* DO NOT MATCH THE HASHES"):
        fetch_wheels(TINY, tmp_path / "packages")
    assert not (tmp_path / "packages").exists()


def test_hashes_of_an_unknown_set_are_recorded(tiny: Path, tmp_path: Path) -> None:
    assert TINY.pinned is None
    (got,) = fetch_wheels(TINY, tmp_path / "packages")
    assert got.sha256 == hashlib.sha256(tiny.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "wanted",
    [
        WheelSet("x86_64", "3.11", "2.36", TINY.requirements),
        WheelSet("aarch64", "3.9", "2.36", TINY.requirements),
        WheelSet("aarch64", "3.11", "2.27", TINY.requirements),
    ],
    ids=["machine", "python", "glibc"],
)
def test_wheels_for_other_platforms_are_refused(tiny: Path, tmp_path: Path, wanted: WheelSet) -> None:
    with pytest.raises(ToolchainError, match=r"No matching distribution found for edgeaudit-tiny==1\.0"):
        fetch_wheels(wanted, tmp_path / "packages")


def test_a_python_without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "PathFinder", SimpleNamespace(find_spec=lambda _: None))
    with pytest.raises(ToolchainError, match="Install it with: python -m ensurepip"):
        fetch_wheels(TINY, tmp_path / "packages")


def test_detecting_pip_runs_no_foreign_finder(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """setuptools has one that gives up its distutils for good, after which importing setuptools fails."""

    def find_spec(name: str, *_: object) -> None:
        assert name != "pip"

    monkeypatch.setattr(sys, "meta_path", [SimpleNamespace(find_spec=find_spec), *sys.meta_path])
    fetch_wheels(TINY, tmp_path / "packages")


@pytest.mark.parametrize("name", profile_names())
def test_hashes_of_every_profile_are_committed(name: str) -> None:
    """`make wheel-hashes` adds those that are missing."""
    for wanted in wheel_sets(find_profile(name)).values():
        assert wanted.key in known_hashes()
        assert wanted.pinned is not None
        assert set(wanted.requirements) <= set(wanted.pinned)


def test_only_sets_without_committed_hashes_are_resolved(tiny: Path, tmp_path: Path) -> None:
    key, hashes = next(iter(known_hashes().items()))
    head, _, requirements = key.partition(": ")
    machine, _, python, _, libc = head.split()
    committed = WheelSet(machine, python, libc, tuple(requirements.split()))
    pin_wheels([committed, TINY], tmp_path / "hashes.json")  # pip has no index, so it can resolve TINY alone
    digest = hashlib.sha256(tiny.read_bytes()).hexdigest()
    expected = {key: dict(hashes), TINY.key: {"edgeaudit-tiny==1.0": digest}}
    assert json.loads((tmp_path / "hashes.json").read_text()) == expected
