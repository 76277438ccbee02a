"""Preparing an emulation: what is refused, what is shared, and what is removed. No network here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgeaudit.cli.main import app
from edgeaudit.devices import profiles
from edgeaudit.devices.profiles import Profile
from edgeaudit.devices.qemu import debian
from edgeaudit.devices.qemu.prepare import Emulation, _debian_python, wheel_sets
from edgeaudit.devices.qemu.transport import EmulatedTransport
from edgeaudit.devices.registry import find_transport
from edgeaudit.endpoint import EMULATED, Endpoint
from edgeaudit.errors import DeviceError, MissingEnvironment, ToolchainError
from tests.devices.boards import HASWELL, PI_4, PI_5, board


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("EDGEAUDIT_EMULATION", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pretend(*profiles: Profile) -> None:
    """Folders that say that they are whole."""
    for profile in profiles:
        for folder in Emulation(profile).folders():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "edgeaudit.json").write_text(json.dumps({"versions": {}, "sha256": ""}))


def test_an_unprepared_emulation_names_the_command(written: Callable[[Profile], str]) -> None:
    path = written(PI_4)
    transport = find_transport(Endpoint(EMULATED, path))
    assert isinstance(transport, EmulatedTransport)
    assert (transport.timed, transport.exclusive, transport.loads) == (False, False, True)
    message = rf"'pi-4' with 'litert' is not prepared\. Prepare it with: edgeaudit devices emulate {path}$"
    with pytest.raises(MissingEnvironment, match=message):
        transport.facts("litert")
    with pytest.raises(MissingEnvironment, match=message):
        transport.serve("litert", {}, {})


def test_errors_of_emulation() -> None:
    with pytest.raises(DeviceError, match="needs a profile"):
        EmulatedTransport(Endpoint(EMULATED))
    with pytest.raises(DeviceError, match="'n100' cannot be emulated: QEMU has no CPU"):
        Emulation(board("n100", "Haswell", "x86_64", emulation=None))
    bare = board("bare", "cortex-a72", runtimes={"openvino": {"version": "1", "source": "the maker's own build"}})
    with pytest.raises(DeviceError, match="'openvino' on 'bare' cannot be emulated: pip cannot install it"):
        Emulation(bare).facts("openvino")
    with pytest.raises(DeviceError, match="the profile 'pi-4' has no runtime 'openvino'; it has: onnxruntime, litert"):
        Emulation(PI_4).prepare(["openvino"])


def test_an_unsuitable_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainError, match="apt-get is not installed, which downloads QEMU"):
        Emulation(PI_4).prepare()


def test_an_unsuitable_host_is_fine_if_everything_is_prepared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(PI_4)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert {took.fresh for took in Emulation(PI_4).prepare()} == {False}


@pytest.mark.parametrize(
    ("python", "stands_in"), [("3.6", "3.9"), ("3.9", "3.9"), ("3.10", "3.11"), ("3.12", "3.13"), ("3.14", "3.13")]
)
def test_the_python_of_a_debian(python: str, stands_in: str) -> None:
    assert _debian_python(python) == stands_in


def test_devices_share_equal_folders() -> None:
    four, five, haswell = (Emulation(profile).folders() for profile in (PI_4, PI_5, HASWELL))
    names = {folder.name.rpartition("-")[0] for folder in four & five}
    assert names == {"qemu", "userland-aarch64-3.11", "wheels-aarch64-3.11"}
    assert {folder.name.rpartition("-")[0] for folder in four & haswell} == {"qemu"}
    pins = {"onnxruntime": {"version": "1.23.2", "requirements": ["onnxruntime==1.23.2"], "source": "PyPI"}}
    older = Emulation(board("older", "cortex-a72", runtimes=pins)).folders()
    assert {folder.name.rpartition("-")[0] for folder in older - four} == {"wheels-aarch64-3.11"}


def test_runtimes_are_prepared_separately(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(PI_4)
    emulation = Emulation(PI_4)
    assert emulation.runtimes == ("onnxruntime", "litert")
    assert emulation.prepared("litert")
    (gone,) = emulation.remove(["litert"])
    assert gone.name.startswith("wheels-")
    assert emulation.prepared("onnxruntime")
    assert not emulation.prepared("litert")


def test_removal_keeps_what_another_device_uses(
    written: Callable[[Profile], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(PI_4, PI_5)
    monkeypatch.setattr(profiles, "profile_names", lambda: ("pi-5", "haswell"))
    monkeypatch.setattr(profiles, "find_profile", lambda name: {"pi-4": PI_4, "pi-5": PI_5, "haswell": HASWELL}[name])
    done = CliRunner().invoke(app, ["devices", "emulate", "pi-4", "--remove"])
    assert done.exit_code == 0, done.output
    assert done.output.count("removed") == 1
    assert "guest-cortex-a72" in done.output
    assert Emulation(PI_5).prepared("litert")
    done = CliRunner().invoke(app, ["devices", "emulate", "pi-4", "pi-5", "--remove"])
    assert done.exit_code == 0
    assert not Emulation(PI_5).begun


def test_the_command_reports_what_existed(written: Callable[[Profile], str]) -> None:
    pretend(PI_4, PI_5)
    done = CliRunner().invoke(app, ["devices", "emulate", written(PI_4), written(PI_5), "--runtime", "litert"])
    assert done.exit_code == 0, done.output
    assert "pi-4 (cortex-a72)" in done.output
    assert "QEMU: there" in done.output
    assert "everything was prepared already" in done.output


def test_wheel_sets_are_for_the_userland_that_is_used() -> None:
    orin = board("orin", "cortex-a76", system={"name": "Ubuntu 22.04", "libc": "2.35", "python": "3.10"})
    found = wheel_sets(orin)["onnxruntime"]
    assert (found.machine, found.python, found.libc) == ("aarch64", "3.11", "2.36")
    assert wheel_sets(board("none", "Haswell", "x86_64", emulation=None)) == {}


def test_a_missing_network_is_reported_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The mirror is a folder that is not there."""
    if debian.host_lacks() is not None:
        pytest.skip(str(debian.host_lacks()))
    monkeypatch.setenv("EDGEAUDIT_DEBIAN", f"file:{tmp_path}/nowhere")
    with pytest.raises(ToolchainError, match=r"cannot be downloaded: .* Check the network"):
        Emulation(PI_4).prepare(["onnxruntime"])
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []
