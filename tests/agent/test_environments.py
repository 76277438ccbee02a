"""Separate environments: their location, their creation, and the errors if they are missing."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgeaudit.cli.main import app
from edgeaudit.devices.environments import ENVIRONMENTS, Environment, find_environment
from edgeaudit.errors import MissingEnvironment, ToolchainError

TFLITE = ENVIRONMENTS["tflite-runtime"]


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("EDGEAUDIT_ENVIRONMENTS", str(tmp_path / "environments"))
    return tmp_path / "environments"


def pretended(environment: Environment, *packages: str) -> None:
    """What a made environment looks like from here."""
    site = environment.folder / "lib" / "python3.11" / "site-packages"
    for package in packages:
        name, _, version = package.partition("==")
        about = site / f"{name.replace('-', '_')}-{version}.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    environment.folder.mkdir(parents=True, exist_ok=True)
    (environment.folder / "edgeaudit.json").write_text("{}")


def test_it_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EDGEAUDIT_ENVIRONMENTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert TFLITE.folder.parent == tmp_path / "edgeaudit" / "environments"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the standard says to ignore
    monkeypatch.setenv("HOME", str(tmp_path))
    assert TFLITE.folder.parent == tmp_path / ".cache" / "edgeaudit" / "environments"


def test_other_pins_are_another_folder() -> None:
    assert replace(TFLITE, requirements=("tflite-runtime==2.13.0",)).folder != TFLITE.folder
    assert TFLITE.folder.name.startswith("tflite-runtime-")


def test_versions_come_from_the_environment() -> None:
    with pytest.raises(MissingEnvironment, match="edgeaudit environments prepare tflite-runtime"):
        TFLITE.versions(("numpy",))
    pretended(TFLITE, "tflite-runtime==2.14.0", "numpy==1.26.4")
    assert TFLITE.versions(("tflite-runtime", "numpy")) == {"tflite-runtime": "2.14.0", "numpy": "1.26.4"}
    with pytest.raises(MissingEnvironment, match=r"lacks 'scipy'\. Recreate it: edgeaudit environments remove"):
        TFLITE.versions(("numpy", "scipy"))


def test_an_unknown_name_names_the_known_ones() -> None:
    with pytest.raises(ToolchainError, match="no environment 'tvm'; there are: tflite-runtime"):
        find_environment("tvm")


def test_a_python_without_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolchainError, match=r"needs one of python3\.4, but none is on the PATH.* --python /path/to/"):
        replace(TFLITE, pythons=((3, 4),)).prepare()


def test_an_invalid_python(root: Path) -> None:
    with pytest.raises(ToolchainError, match="creating an environment with /nowhere/python failed: No such file"):
        TFLITE.prepare(Path("/nowhere/python"))
    assert list(root.iterdir()) == []


@pytest.mark.toolchain
def test_unavailable_packages_leave_nothing_behind(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(ToolchainError, match=r"installing numpy==0\.0\.1 failed: .*numpy==0\.0\.1"):
        Environment("x", ("numpy==0.0.1",), (sys.version_info[:2],), "numpy", "").prepare()
    assert list(root.iterdir()) == []


def test_the_commands() -> None:
    runner = CliRunner()
    listed = runner.invoke(app, ["environments", "list"], env={"COLUMNS": "300"})
    assert "no: edgeaudit environments prepare tflite-runtime" in listed.stdout
    shown = runner.invoke(app, ["formats"], env={"COLUMNS": "300"})
    assert "no: numpy, tflite-runtime" in shown.stdout
    assert "missing: edgeaudit environments prepare tflite-runtime" in shown.stdout
    pretended(TFLITE, "tflite-runtime==2.14.0", "numpy==1.26.4")
    assert str(TFLITE.folder) in runner.invoke(app, ["environments", "list"], env={"COLUMNS": "300"}).stdout
    made = runner.invoke(app, ["environments", "prepare", "tflite-runtime"])
    assert (made.exit_code, json.loads((TFLITE.folder / "edgeaudit.json").read_text())) == (0, {})  # it was there
    assert "removed" in runner.invoke(app, ["environments", "remove", "tflite-runtime"]).stdout
    assert not TFLITE.folder.exists()
    assert "was not there" in runner.invoke(app, ["environments", "remove", "tflite-runtime"]).stdout


def test_the_command_that_writes_the_agent(tmp_path: Path) -> None:
    out = tmp_path / "agent.pyz"
    assert CliRunner().invoke(app, ["agent", "--out", str(out)]).exit_code == 0
    assert out.read_bytes().startswith(b"#!/usr/bin/env python3\n")
