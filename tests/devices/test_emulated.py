"""Under QEMU: what the guest says of itself, how it answers, and that it is reached again when it has ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import JsonValue
from typer.testing import CliRunner

from edgeaudit.cli.main import app
from edgeaudit.config.entries import PassEntry
from edgeaudit.devices.agent_process import AgentProcess
from edgeaudit.devices.profiles import Profile
from edgeaudit.devices.registry import find_transport
from edgeaudit.endpoint import EMULATED, Endpoint
from edgeaudit.errors import ArtifactError, DeviceLost
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.runtimes.registry import find_runtime
from tests.devices.boards import HASWELL, ISA, PI_4, PI_5
from tests.exporters.toys import artifact, toy

pytestmark = [pytest.mark.toolchain, pytest.mark.usefixtures("emulated_cache"), pytest.mark.isa]

Write = Callable[[Profile], str]

CNN = "cnn-8x8x1"
AS_IT_COMES = {"batch": 16, "session": {}}


def static(**params: JsonValue) -> Artifact:
    made = artifact(toy(CNN), (PassEntry("onnx.export"), PassEntry("ort.static-int8", params)))
    made.save()
    return made


@contextmanager
def served(path: str, runtime: str, artifacts: Mapping[str, Artifact], options: Mapping[str, Any]) -> Iterator[Any]:
    folders = {name: one.folder for name, one in artifacts.items()}
    session = find_transport(Endpoint(EMULATED, path)).serve(runtime, folders, options)
    try:
        yield session
    finally:
        session.close()


def answers(path: str, artifacts: Mapping[str, Artifact]) -> dict[str, npt.NDArray[Any]]:
    with served(path, "onnxruntime", artifacts, AS_IT_COMES) as session:
        return {name: session.infer(name, toy(CNN).queries, "one") for name in artifacts}


def test_int8_on_three_devices(written: Write) -> None:
    """Boards agree bit for bit, with and without dot product; AVX2 saturates unless weights have 7 bits.

    The reach of torch's answers is what says that the boards are right: saturation cuts it.
    """
    files = {
        "u8s8": static(),
        "s8s8": static(activation_type="s8"),
        "reduced": static(reduce_range=True),
    }
    four, five, haswell = (answers(written(profile), files) for profile in (PI_4, PI_5, HASWELL))
    for name in files:
        np.testing.assert_array_equal(four[name], five[name])
    np.testing.assert_array_equal(four["reduced"], haswell["reduced"])
    wanted = toy(CNN).logits
    for name in ("u8s8", "s8s8"):
        assert (four[name] != haswell[name]).any(axis=1).mean() > 0.5
        assert error(four[name], wanted) < 0.1
        assert error(haswell[name], wanted) > 2 * error(four[name], wanted)


def error(given: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> float:
    """RMS of the difference over the standard deviation of torch's answers."""
    return float(np.sqrt(((given - wanted) ** 2).mean()) / wanted.std())


def test_litert_answers_as_here(written: Write) -> None:
    """XNNPACK's int8 sums are exact on every CPU, so an ARM guest answers this machine's bits."""
    made = artifact(toy(CNN), (PassEntry("litert.export"), PassEntry("aeq.static-int8")))
    made.save()
    here = find_runtime("litert")(made, {"batch": 8})
    native = here._to_native(toy(CNN).queries)
    with served(written(PI_4), "litert", {"model": made}, {"batch": 8}) as session:
        np.testing.assert_array_equal(session.infer("model", native, "one"), here.ask(native))
        assert session.facts("model")["sha256"] == made.manifest.sha256
        assert session.facts("model")["engaged"] == list(here.engaged())


@pytest.mark.parametrize("profile", [PI_4, PI_5, HASWELL], ids=lambda profile: profile.name)
def test_the_guests_fingerprint(profile: Profile, written: Write) -> None:
    """Flags are those that the makers' manuals give; the host's own CPU has others."""
    transport = find_transport(Endpoint(EMULATED, written(profile)))
    facts = transport.facts("onnxruntime")
    assert facts["isa"] == list(ISA[profile.cpu.name])
    assert facts["machine"] == profile.cpu.machine
    assert str(facts["python"]).startswith("3.11.")
    assert facts["versions"]["onnxruntime"] == "1.32.0"
    assert facts["versions"]["numpy"] == "2.4.6"
    assert int(facts["emulator"]["version"].partition(":")[2].partition(".")[0]) >= 10
    assert len(facts["userland"]) == len(facts["wheels"]) == 64
    with served(written(profile), "onnxruntime", {}, {"session": {}}) as session:
        said = session.fingerprint()
    for key in ("machine", "cpu", "isa", "python", "libc"):
        assert said[key] == facts[key], key
    assert said["runtime"]["versions"] == {"onnxruntime": "1.32.0"}
    assert said["probes"]["int8"]["kernels"] == ("saturating" if profile is HASWELL else "exact")
    assert said["probes"]["float"]["kernels"] == "float32"
    assert said["threads"] == 1


def test_the_hosts_python_path_is_ignored(written: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("numpy.py", "edgeaudit.py", "sitecustomize.py"):
        (tmp_path / name).write_text("raise SystemExit('the host was asked')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setenv("OPENBLAS_CORETYPE", "no such core")
    monkeypatch.chdir(tmp_path)
    with served(written(HASWELL), "onnxruntime", {}, {}) as session:
        assert session.fingerprint()["numpy"] == "2.4.6"


def test_an_exited_process_is_restarted(written: Write) -> None:
    made = static()
    with served(written(PI_4), "onnxruntime", {"model": made}, AS_IT_COMES) as session:
        assert isinstance(session, AgentProcess)
        before, pid = session.infer("model", toy(CNN).queries[:16], "one"), session.pid
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(DeviceLost, match="the agent's process exited by signal SIGKILL"):
            session.infer("model", toy(CNN).queries[:16], "two")
        session.restore()
        assert session.pid != pid
        np.testing.assert_array_equal(session.infer("model", toy(CNN).queries[:16], "two"), before)
        pid = session.pid
        session.restore()  # of one that runs
        assert session.pid == pid
    assert not session.running


def test_a_file_that_the_runtime_refuses(written: Write) -> None:
    with (
        pytest.raises(ArtifactError, match="'litert' serves tflite files"),
        served(written(PI_4), "litert", {"model": static()}, {}),
    ):
        pass


def test_probe_compares_the_device_with_its_profile(written: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    lying = PI_4.model_copy(update={"cpu": PI_4.cpu.model_copy(update={"isa": ("asimd", "asimddp"), "lacks": ()})})
    done = CliRunner().invoke(app, ["devices", "probe", written(lying), "--runtime", "onnxruntime"])
    assert done.exit_code == 0, done.output
    lines = {line.split("  ")[0]: line for line in done.output.splitlines()}
    assert lines["isa"].rstrip().endswith("differs")
    assert "Cortex-A72" in lines["cpu"]
    assert "differs" not in lines["onnxruntime: numpy"]
    assert "exact" in lines["onnxruntime: int8 sums, runtime's defaults"]
    assert "1 of 11 disagree with pi-4" in done.output
