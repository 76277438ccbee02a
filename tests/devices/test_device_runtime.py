"""A runtime on a device: the same answers as in this process, whole batches where nothing is padded, times."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgeaudit.agent.messages import Fingerprint, ServedFacts
from edgeaudit.devices.agent_file import write_agent
from edgeaudit.devices.agent_process import AgentProcess
from edgeaudit.devices.device_runtime import DeviceRuntime, RemoteRuntime, device_facts, on_device
from edgeaudit.devices.querying import QueryPolicy, RetryingSession
from edgeaudit.devices.transport import InferenceSession
from edgeaudit.digests import file_sha256
from edgeaudit.endpoint import Endpoint
from edgeaudit.errors import ArtifactError, DeviceError
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.runtimes.litert import LiteRT
from edgeaudit.runtimes.onnxruntime import OnnxRuntime
from tests.runtimes.served import onnx_artifact, tflite_artifact

RECORDS = np.random.default_rng(0).normal(size=(21, 2)).astype(np.float32)


@contextmanager
def served(artifact: Artifact, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Iterator[Endpoint]:
    """How to reach an agent that serves the artifact with LiteRT in this Python."""
    agent = write_agent(artifact.folder / "agent.pyz")
    process = AgentProcess([sys.executable, "-I", str(agent)], "litert", {"model": artifact.folder}, options)
    monkeypatch.setenv("TOKEN_OF_THE_TEST", process.client._token or "")
    try:
        yield Endpoint(process.client.url, token="TOKEN_OF_THE_TEST", model="model")  # noqa: S106  a variable's name
    finally:
        process.close()
        device_facts.cache_clear()


@pytest.mark.toolchain
@pytest.mark.parametrize("int8", [False, True])
def test_outputs_equal_those_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, int8: bool) -> None:
    artifact = tflite_artifact(tmp_path, int8=int8)
    with served(artifact, monkeypatch, batch=4) as endpoint:
        there = on_device(endpoint, "litert", QueryPolicy("there"))(artifact, {"batch": 4})
        np.testing.assert_array_equal(there.query(RECORDS), LiteRT(artifact, {"batch": 4}).query(RECORDS))
        assert there.engaged() == LiteRT(artifact).engaged()
        assert isinstance(there, DeviceRuntime)
        assert there.session.queried == len(RECORDS)
        there.close()


@pytest.mark.toolchain
def test_calls_are_timed_by_the_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = tflite_artifact(tmp_path)
    with served(artifact, monkeypatch, batch=2) as endpoint:
        there = on_device(endpoint, "litert", QueryPolicy("there"))(artifact, {"batch": 2})
        times, cpu_share = there.remote_times(RECORDS[:2], 30, 5.0)
        assert len(times) == 30
        assert all(0 < time < 1000 for time in times)
        assert 0 < cpu_share < 1.5
        with pytest.raises(DeviceError, match="must be timed with 2 records, not 3"):
            there.remote_times(RECORDS[:3], 30, 5.0)
        with pytest.raises(DeviceError, match="'repetitions' must be an integer from 1 to 10000"):
            there.remote_times(RECORDS[:2], 0, 5.0)
        with pytest.raises(DeviceError, match="'seconds' must be a number up to 60"):
            there.remote_times(RECORDS[:2], 30, 1e9)
        there.close()


def test_on_a_device_options_are_those_of_an_application_there() -> None:
    """On an x86 CPU without VNNI, ONNX Runtime's own kernels saturate; only here are they asked not to."""
    assert OnnxRuntime.spec.defaults["session"] == {"session.x64quantprecision": "auto"}
    from edgeaudit.devices.device_runtime import DeviceRuntimeSpec

    told = DeviceRuntimeSpec.of(OnnxRuntime.spec, {"onnxruntime": "1.2.3"})
    assert told.options({})["session"] == {}
    assert told.versions() == {"onnxruntime": "1.2.3"}


def test_runtimes_without_an_agent_are_refused() -> None:
    with pytest.raises(
        DeviceError, match="'torch' runs on this machine only; runtimes for devices: executorch, litert"
    ):
        device_facts(Endpoint("http://127.0.0.1:9"), "torch")


class Silent(InferenceSession):
    """A server that tells nothing of itself and answers each row with its sum; it keeps what it was asked."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.names: list[str] = []

    def infer(self, model: str, native: npt.NDArray[Any], request: str) -> npt.NDArray[Any]:
        assert model == "model"
        self.lengths.append(len(native))
        self.names.append(request)
        return np.repeat(native.sum(axis=1, keepdims=True), 2, axis=1)

    def facts(self, model: str) -> ServedFacts:
        assert model == "model"
        return {"options": {}, "engaged": []}

    def fingerprint(self) -> Fingerprint:
        return {}

    def restore(self) -> None:
        return

    def close(self) -> None:
        return


class Asked(RemoteRuntime):
    """ONNX files, asked of a `Silent` server."""

    spec = OnnxRuntime.spec

    def _serve(self, artifacts: Mapping[str, Path], max_body: int) -> RetryingSession:
        assert max_body > 0
        (folder,) = artifacts.values()
        # A device gets the file, and nothing of which records made it.
        self.shipped = Artifact.load(folder).manifest
        return RetryingSession(Silent(), QueryPolicy("silent"))


@pytest.mark.toolchain
def test_a_foreign_server_gets_whole_batches_and_equal_requests_have_equal_ids(tmp_path: Path) -> None:
    artifact = onnx_artifact(tmp_path, layout="flat")
    runtime = Asked(artifact, {"batch": 8})
    records = np.random.default_rng(1).normal(size=(21, *artifact.manifest.input.shape[1:])).astype(np.float32)
    answers = runtime.query(records)
    np.testing.assert_allclose(answers[:, 0], records.sum(axis=1), rtol=1e-5)
    session = runtime.session.inner
    assert isinstance(session, Silent)
    assert session.lengths == [8, 8, 8]
    first = list(session.names)
    assert len(set(first)) == 3
    runtime.query(records)
    assert session.names[3:] == first
    assert runtime.shipped.calibration_ids == ()
    assert runtime.shipped.sha256 == artifact.manifest.sha256
    with pytest.raises(DeviceError, match="'model' cannot be timed where it is served"):
        runtime.remote_times(records[:8], 10, 1.0)


@pytest.mark.toolchain
def test_another_file_than_the_artifact_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    other = tflite_artifact(tmp_path / "b")
    other.path.write_bytes(other.path.read_bytes() + b"\0")  # which no interpreter looks at
    other = Artifact(other.folder, replace(other.manifest, sha256=file_sha256(other.path)))
    with served(tflite_artifact(tmp_path / "a"), monkeypatch) as endpoint:
        runtime = on_device(endpoint, "litert", QueryPolicy("there"))
        with pytest.raises(ArtifactError, match=other.manifest.sha256[:12]):
            runtime(other)
